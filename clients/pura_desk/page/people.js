// The roster: search, forget, rename and merge.

import { by, call, element, form } from "./calls.js";

const PAGE = 100;
const WAIT_MS = 200;

export class People {
  constructor(say, dialog, changed) {
    this.say = say;
    this.changed = changed;
    this.dialog = dialog;
    this.rights = [];
    this.next = null;
    let waiting;
    by("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.load(), WAIT_MS);
    });
    by("refresh").addEventListener("click", () => this.changed());
    by("more").addEventListener("click", () => this.load(this.next));
  }

  allow(rights) {
    this.rights = rights;
    by("people").hidden = !rights.includes("list");
  }

  async load(after = null) {
    if (!this.rights.includes("list")) return;
    const asked = new URLSearchParams({ search: by("search").value, limit: PAGE });
    if (after !== null) asked.set("after", after);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const page = await call("GET", `/v1/subjects?${asked}`);
      if (turn === this.turn) this._show(page, after !== null);
    } catch (error) {
      this.say(error);
    }
  }

  _show(page, more) {
    const rows = page.subjects.map((one) => this._row(one));
    if (more) by("roster").append(...rows);
    else by("roster").replaceChildren(...rows);
    by("roster-box").hidden = page.total === 0;
    this.next = page.next;
    by("more").hidden = page.next === null;
    const others = page.unreadable ? `, and ${page.unreadable} entries of another label key` : "";
    by("people-count").textContent =
      page.total === 0 ? (by("search").value ? "Nobody of that name." : "Nobody is enrolled yet.") : `${page.total} ${page.total === 1 ? "person" : "people"}${others}`;
    if (!by("search").value) {
      by("labels").replaceChildren(...page.subjects.map((one) => element("option", { value: one.label })));
    }
  }

  _row(one) {
    const rename =
      this.rights.includes("enrol") &&
      element(
        "button",
        { type: "button", class: "small", "aria-label": `Rename ${one.label}`, onclick: () => this.rename(one) },
        "Rename",
      );
    const forget =
      this.rights.includes("erase") &&
      element(
      "button",
      { type: "button", class: "small danger", "aria-label": `Forget ${one.label}`, onclick: () => this.forget(one) },
      "Forget",
      );
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, one.label),
      element("td", { class: "number" }, String(one.entries)),
      element("td", { class: "acts" }, rename, forget),
    );
  }

  async rename(one) {
    const label = await this.dialog({
      title: `Rename ${one.label}`,
      text: "If somebody has the other name already, the two become one person.",
      ok: "Rename",
      field: "Other name",
      value: one.label,
    });
    if (label === null || label === one.label) return;
    try {
      const done = await call("PUT", `/v1/subjects/${encodeURIComponent(one.label)}`, form({ label }));
      this.say(`${one.label} is ${done.label} now.`);
    } catch (error) {
      this.say(error);
    }
    this.changed();
    by("search").focus();
  }

  async forget(one) {
    const entries = one.entries === 1 ? "The entry is" : `All ${one.entries} entries are`;
    const sure = await this.dialog({
      title: `Forget ${one.label}?`,
      text: `${entries} erased on both servers. That cannot be undone.`,
      ok: "Forget",
    });
    if (sure === null) return;
    try {
      const { erased } = await call("DELETE", `/v1/subjects/${encodeURIComponent(one.label)}`);
      this.say(`Forgot ${one.label}: ${erased} ${erased === 1 ? "entry" : "entries"} erased.`);
    } catch (error) {
      this.say(error);
    }
    this.changed();
    by("search").focus();
  }
}
