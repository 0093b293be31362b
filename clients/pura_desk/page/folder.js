// Folder imports: this page sends people one by one, the desk enrols them. A reload loses nothing that was sent; choose
// the folder again, and the rest goes on.

import { by, call, element, form } from "./calls.js";

const LOOK_MS = 600;
const PICTURE = /\.(jpe?g|jpe|jfif|png|webp|heic|heif|avif|tiff?|bmp|gif|pgm|ppm|pnm)$/i;

export class Folder {
  constructor(say, enrolled) {
    this.say = say;
    this.enrolled = enrolled;
    this.sending = new Set();
    this.seen = new Map();
    by("folder").addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      await this.send(files);
    });
  }

  // What is in a folder, by person: sub-folder, or file name.
  people(files) {
    const found = new Map();
    for (const file of files) {
      const path = (file.webkitRelativePath || file.name).split("/");
      if (path.some((part) => part.startsWith(".")) || !PICTURE.test(file.name) || path.length > 3) continue;
      const label = path.length === 3 ? path[1] : file.name.replace(/\.[^.]+$/, "");
      if (!found.has(label)) found.set(label, []);
      found.get(label).push(file);
    }
    return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async send(files) {
    const people = this.people(files);
    if (!people.size) {
      this.say("There are no photos in that folder.");
      return;
    }
    const name = (files[0].webkitRelativePath || "photos").split("/")[0];
    try {
      const { imports } = await call("GET", "/v1/imports");
      const open = imports.find((one) => one.state === "open" && one.name === name && !this.sending.has(one.id));
      const job = open ?? (await call("POST", "/v1/imports", form({ name, people: people.size })));
      const here = open ? (await call("GET", `/v1/imports/${job.id}/received`)).labels : [];
      this.sending.add(job.id);
      this.watch();
      for (const [label, photos] of people) {
        if (here.includes(label)) continue;
        const now = await call("POST", `/v1/imports/${job.id}/people`, form({ label, photos }));
        if (now.state === "stopped") break;
      }
      await call("POST", `/v1/imports/${job.id}/end`);
      this.sending.delete(job.id);
    } catch (error) {
      this.say(error);
    }
  }

  // Until nothing is going on any more.
  async watch() {
    if (this.watching) return;
    this.watching = true;
    try {
      for (;;) {
        const { imports } = await call("GET", "/v1/imports");
        this._show(imports);
        if (!imports.some((one) => one.state === "open" || one.state === "running")) break;
        await new Promise((done) => setTimeout(done, LOOK_MS));
      }
    } catch (error) {
      this.say(error);
    } finally {
      this.watching = false;
    }
  }

  _show(imports) {
    let changed = false;
    for (const one of imports) {
      const words = `${one.state} ${one.done}`;
      changed ||= this.seen.get(one.id) !== words;
      this.seen.set(one.id, words);
    }
    if (!changed) return;
    by("imports").replaceChildren(...imports.map((one) => this._one(one)));
    if (imports.some((one) => one.done)) this.enrolled();
  }

  _one(one) {
    const waits = one.state === "open" && !this.sending.has(one.id);
    const state = { open: waits ? "waits for the rest: choose the folder again" : "sending", running: "enrolling", done: "done", stopped: "stopped" }[one.state];
    const made = element(
      "div",
      { class: "import" },
      element("p", {}, element("strong", {}, one.name), ` — ${state}`),
      element("progress", { max: Math.max(1, one.people), value: one.done, "aria-label": `Import of ${one.name}` }),
      element("p", { class: "quiet" }, `${one.done} of ${one.people} people: ${one.enrolled} enrolled, ${one.already} were there already, ${one.left_out} ${one.left_out === 1 ? "photo" : "photos"} left out`),
    );
    if (one.problems.length) {
      made.append(
        element(
          "details",
          {},
          element("summary", {}, `${one.problems.length} to look at`),
          element("ul", {}, ...one.problems.map((p) => element("li", {}, `${[p.label, p.photo].filter(Boolean).join(", ")}: ${p.detail}`))),
        ),
      );
    }
    if (one.state === "open" || one.state === "running") {
      const stop = async () => {
        await call("DELETE", `/v1/imports/${one.id}`).catch((error) => this.say(error));
        this.watch();
      };
      made.append(element("button", { type: "button", class: "small", "aria-label": `Stop the import of ${one.name}`, onclick: stop }, "Stop"));
    }
    return made;
  }
}
