// The page: tabs, forms, answers. Faces go to this machine's desk and no further.

import { by, call, element, form, onToken, Refused } from "./calls.js";
import { Folder } from "./folder.js";
import { Live } from "./live.js";
import { People } from "./people.js";
import { Picture, said } from "./picture.js";
import { remember, showCost } from "./strip.js";

const STATUS_MS = 15_000;

// --- what is said ---

function say(what, ...more) {
  const place = by("answer");
  const bad = what instanceof Error;
  place.classList.toggle("bad", bad);
  if (bad) {
    const code = what instanceof Refused ? element("p", { class: "code" }, what.code) : null;
    place.replaceChildren(element("p", {}, what.message), ...(code ? [code] : []));
  } else {
    place.replaceChildren(...(typeof what === "string" ? [element("p", { class: "big" }, what)] : [what]), ...more);
  }
}

function dialog({ title, text, ok, field = null, value = "" }) {
  const box = by("dialog");
  by("dialog-title").textContent = title;
  by("dialog-text").textContent = text;
  by("dialog-ok").textContent = ok;
  by("dialog-field").hidden = field === null;
  by("dialog-label").textContent = field ?? "";
  by("dialog-input").value = value;
  by("dialog-input").required = field !== null;
  return new Promise((done) => {
    box.addEventListener(
      "close",
      () => done(box.returnValue === "ok" ? (field === null ? true : by("dialog-input").value) : null),
      { once: true },
    );
    box.returnValue = "";
    box.showModal();
    if (field !== null) by("dialog-input").select();
  });
}

let asking = null;
onToken(() => {
  asking ??= dialog({ title: "A token, please", text: "This desk is used with a token. It is kept until this tab is closed.", ok: "Use it", field: "Token" }).finally(() => {
    asking = null;
  });
  return asking;
});

const picture = new Picture(say);
new Live(say, picture);
const people = new People(say, dialog, changed);
const folder = new Folder(say, changed);

function changed() {
  people.load();
  status();
}

// --- forms ---

function on(id, work) {
  by(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.target.querySelector(".main");
    if (button.disabled) return;
    button.disabled = true;
    by("answer").setAttribute("aria-busy", "true");
    showCost(null);
    say("Working…");
    try {
      await work();
    } catch (error) {
      say(error);
    } finally {
      button.disabled = false;
      by("answer").removeAttribute("aria-busy");
      if (document.activeElement === document.body) button.focus();
    }
  });
}

on("identify", async () => {
  const photo = await picture.one();
  const most = by("most-row").hidden ? null : by("most").value;
  const reply = await call("POST", "/v1/identify", form({ photo: photo.blob, top_k: most }));
  const answers = picture.answered(photo, reply);
  showCost(reply.cost);
  const lines = answers.map(said);
  if (!lines.length) say("No face was found.");
  else if (lines.length === 1) say(lines[0]);
  else {
    const items = answers.map((one, i) => element("li", { class: one.match ? "match" : "" }, `Face ${i + 1}: ${lines[i]}`));
    say(element("ul", {}, ...items));
  }
  remember(photo.url, `Who is this? ${lines.join("; ") || "no face"}`);
});

on("verify", async () => {
  const photo = await picture.one();
  const label = by("claimed").value;
  const reply = await call("POST", "/v1/verify", form({ photo: photo.blob, label }));
  const line = reply.match ? `Yes, this is ${reply.label}` : `No, this is not ${reply.label}`;
  say(line);
  showCost(reply.cost);
  remember(photo.url, line);
});

on("enrol", async () => {
  const photos = await picture.all();
  const label = by("label").value;
  const reply = await call("POST", "/v1/entries", form({ label, photos: photos.map((one) => one.blob) }));
  const of = reply.photos > 1 ? `, the mean of ${reply.photos} photos` : "";
  const line = reply.already ? `${reply.label} is enrolled already` : `Enrolled ${reply.label}${of}`;
  say(line);
  showCost(reply.cost);
  remember(photos[0].url, line);
  by("label").value = "";
  picture.clear();
  changed();
});

// --- tabs ---

const tabs = [...document.querySelectorAll('[role="tab"]')];

function open(tab, focus) {
  for (const one of tabs) {
    const here = one === tab;
    one.setAttribute("aria-selected", here);
    one.tabIndex = here ? 0 : -1;
    by(one.getAttribute("aria-controls")).hidden = !here;
  }
  if (focus) tab.focus();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => open(tab, false));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const shown = tabs.filter((one) => !one.hidden);
    const at = event.key === "Home" ? 0 : event.key === "End" ? shown.length - 1 : shown.indexOf(tab) + (event.key === "ArrowRight" ? 1 : -1);
    open(shown[(at + shown.length) % shown.length], true);
  });
});

// --- how the servers are ---

let known = null;

async function status() {
  const place = by("status");
  try {
    const now = await call("GET", "/v1/status");
    place.dataset.state = now.peer_ready && !now.outgrown ? "ready" : "bad";
    const entries = `${now.entries} ${now.entries === 1 ? "entry" : "entries"}`;
    let text = now.peer_ready ? `Ready, ${entries}, engine ${now.engine}` : "The second server is not there";
    if (now.outgrown) text = "The gallery has outgrown its threshold: strangers may be named";
    if (place.textContent !== text) place.textContent = text;
    if (known === null) {
      known = now;
      by("most-row").hidden = now.top_k < 2;
      by("most").max = now.top_k;
      by("most").value = now.top_k;
      by("tab-identify").hidden = by("tab-verify").hidden = !now.rights.includes("ask");
      by("tab-enrol").hidden = !now.rights.includes("enrol");
      const first = tabs.find((one) => !one.hidden);
      if (first) open(first, false);
      people.allow(now.rights);
      people.load();
      if (now.rights.includes("enrol")) folder.watch();
    }
  } catch (error) {
    place.dataset.state = "bad";
    place.textContent = error.message;
  }
}

(async () => {
  for (;;) {
    await status();
    await new Promise((done) => setTimeout(done, STATUS_MS));
  }
})();
