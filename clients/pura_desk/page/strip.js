// What a request cost, and what was asked in this session: in the memory of this page, and nowhere else.

import { by, element } from "./calls.js";

const STAGES = [
  ["embed", "find and embed", "c1"],
  ["encrypt", "encrypt and prove", "c2"],
  ["servers", "servers", "c3"],
  ["roster", "roster", "c4"],
];
const MOST = 50;
const number = new Intl.NumberFormat("en");

export function showCost(cost) {
  by("strip").hidden = !cost;
  if (!cost) return;
  by("cost").replaceChildren(
    ...[
      ["Sent", `${number.format(cost.sent)} bytes`],
      ["Received", `${number.format(cost.received)} bytes`],
      ["Questions", number.format(cost.questions)],
    ].map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
  const head = cost.ciphertext.match(/../g)?.join(" ");
  by("ciphertext").textContent = head ? `${head} …` : "no template was sent";
  const total = Math.max(1, ...[STAGES.reduce((sum, [key]) => sum + cost.milliseconds[key], 0)]);
  const parts = STAGES.filter(([key]) => cost.milliseconds[key] > 0);
  by("bar").replaceChildren(
    ...parts.map(([key, , colour]) => {
      const part = element("i", { class: colour });
      part.style.flexBasis = `${(96 * cost.milliseconds[key]) / total}%`;
      part.style.flexGrow = "1";
      return part;
    }),
  );
  by("stages").replaceChildren(
    ...parts.map(([key, name, colour]) =>
      element("li", { class: colour }, `${name} ${number.format(Math.round(cost.milliseconds[key]))} ms`),
    ),
  );
}

export function remember(url, line) {
  const list = by("history");
  list.querySelector(".quiet")?.remove();
  const now = new Date();
  list.prepend(
    element(
      "li",
      {},
      element("img", { src: url ?? "/page/icon.svg", alt: "" }),
      element("span", {}, line),
      element("time", { datetime: now.toISOString() }, now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
    ),
  );
  while (list.children.length > MOST) list.lastElementChild.remove();
}
