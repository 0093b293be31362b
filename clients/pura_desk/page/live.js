// The live view: frames go to this machine's desk, which asks about each person once. What it says is shown as it comes.

import { by, call, element, form } from "./calls.js";

const FRAME_MS = 200;
const PEOPLE = 8;

export class Live {
  constructor(say, picture) {
    this.say = say;
    this.picture = picture;
    this.id = null;
    by("live").addEventListener("click", () => (this.id ? this.stop() : this.start()));
  }

  async start() {
    const label = by("panel-verify").hidden ? null : by("claimed").value;
    if (label === "") {
      this.say("Say first who it should be.");
      by("claimed").focus();
      return;
    }
    this.people = new Map();
    this.frames = this.questions = 0;
    this.began = performance.now();
    try {
      this.id = (await call("POST", "/v1/watches", form({ label }))).id;
      this.label = label;
    } catch (error) {
      this.say(error);
      return;
    }
    this._shown(true);
    const id = this.id;
    while (this.id === id && this.picture.stream) {
      const at = performance.now() - this.began;
      try {
        const photo = await this.picture.frame();
        if (this.id !== id) break;
        this._take((await call("POST", `/v1/watches/${id}/frames`, form({ photo, at_ms: at }))).events, label);
        this.frames += 1;
      } catch (error) {
        this.say(error);
        break;
      }
      const left = FRAME_MS - (performance.now() - this.began - at);
      await new Promise((done) => setTimeout(done, Math.max(0, left)));
    }
    await this.stop();
  }

  async stop() {
    const id = this.id;
    if (!id) return;
    this.id = null;
    this._shown(false);
    by("live-do").textContent = "";
    const last = await call("DELETE", `/v1/watches/${id}`).catch(() => null);
    if (last && !this.id) this._take(last.events, this.label); // who was still before the camera
  }

  _shown(on) {
    by("live").textContent = on ? "Stop recognising" : "Recognise live";
    by("live").setAttribute("aria-pressed", on);
    by("live-box").hidden = false;
    by("live-people").replaceChildren();
  }

  _take(events, label) {
    for (const one of events) {
      if (one.event === "do") by("live-do").textContent = `Please ${one.step}`;
      if (one.event === "refused") this._say(one, `not asked: ${one.reasons.join("; ")}`);
      if (one.event === "unusable") this._say(one, "no frame was good enough to ask");
      if (one.event === "appeared") this._say(one, "…");
      if (one.event === "identified") {
        this.questions += 1;
        this._say(one, this._answer(one, label));
      }
      if (one.event === "refused" || one.event === "identified") by("live-do").textContent = "";
    }
    const minutes = (performance.now() - this.began) / 60_000;
    const rate = (this.frames / minutes / 60).toFixed(1);
    by("live-rate").textContent = `${rate} frames a second, ${this.questions} ${this.questions === 1 ? "question" : "questions"}, ${(this.questions / Math.max(1, minutes)).toFixed(1)} a minute`;
  }

  _answer(one, label) {
    if (one.error) return one.message;
    if (label !== null) return one.match ? `Yes, this is ${label}` : `No, this is not ${label}`;
    return one.match ? `This is ${one.label ?? "somebody under another label key"}` : "Nobody who is enrolled";
  }

  _say(one, text) {
    this.people.set(one.track, text);
    const last = [...this.people].slice(-PEOPLE).reverse();
    by("live-people").replaceChildren(...last.map(([track, said]) => element("li", { value: track }, said)));
  }
}
