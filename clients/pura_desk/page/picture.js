// The picture: camera, photos, and what is known of each face on them.

import { by, call, element, form, Refused } from "./calls.js";

const LOOK_MS = 700;
const LIVE_WIDTH = 640;
const WATCH_WIDTH = 960;
const SVG = "http://www.w3.org/2000/svg";
const TAG_PX = 14;
const SHORT = {
  face_too_small: "too small",
  face_too_blurred: "too blurred",
  face_turned: "turned too far",
};

export class Picture {
  constructor(say) {
    this.say = say;
    this.photos = []; // {blob, url, faces, width, height, answers}
    this.at = -1;
    this.stream = null;
    this.starting = null;
    this.live = null;
    by("camera").addEventListener("click", () => {
      if (this.stream) this.stop();
      else this.starting ??= this.start().finally(() => {
          this.starting = null;
        });
    });
    by("shoot").addEventListener("click", () => this.shoot());
    by("clear").addEventListener("click", () => this.clear());
    by("choose").addEventListener("change", (event) => {
      this.add([...event.target.files]);
      event.target.value = "";
    });
    const stage = by("stage");
    for (const name of ["dragenter", "dragover"]) {
      stage.addEventListener(name, (event) => {
        event.preventDefault();
        stage.classList.add("over");
      });
    }
    stage.addEventListener("dragleave", () => stage.classList.remove("over"));
    stage.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      this.add([...event.dataTransfer.files]);
    });
    for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
    new ResizeObserver(() => this._boxes(this.stream ? this.live : this.current)).observe(stage);
    document.addEventListener("paste", (event) => this.add([...(event.clipboardData?.files ?? [])]));
  }

  get current() {
    return this.photos[this.at] ?? null;
  }

  // The photo to ask about: the one that is shown, or a new one from the camera.
  async one() {
    await this.starting;
    if (this.stream) await this.shoot();
    if (!this.current) throw new Refused("no_picture", "Start the camera or choose a photo first.", 0);
    return this.current;
  }

  async all() {
    await this.starting;
    if (this.stream && !this.photos.length) await this.shoot();
    if (!this.photos.length) throw new Refused("no_picture", "Start the camera or choose photos first.", 0);
    return this.photos;
  }

  // --- camera ---

  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" },
        audio: false,
      });
    } catch (error) {
      const why = { NotAllowedError: "It is not allowed to this page.", NotFoundError: "There is none." }[error.name];
      this.say(new Refused("no_camera", `The camera cannot be used. ${why ?? ""}`, 0));
      return;
    }
    const video = by("video");
    video.srcObject = this.stream;
    await video.play();
    this._camera(true);
    this._show();
    this._look();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = this.live = null;
    by("video").srcObject = null;
    this._camera(false);
    this._show();
  }

  _camera(on) {
    by("camera").textContent = on ? "Stop camera" : "Start camera";
    by("camera").setAttribute("aria-pressed", on);
    by("shoot").hidden = by("live").hidden = !on;
  }

  // One for the live view.
  frame() {
    return this._frame(WATCH_WIDTH);
  }

  async _frame(width) {
    const video = by("video");
    const canvas = document.createElement("canvas");
    const scale = Math.min(1, width / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", width > LIVE_WIDTH ? 0.95 : 0.85));
  }

  // Boxes on the live picture; it stays on this machine, and no question is asked.
  async _look() {
    const stream = this.stream;
    while (this.stream === stream && stream) {
      try {
        const live = await this._found(await this._frame(LIVE_WIDTH));
        if (this.stream !== stream) return;
        this.live = live;
        this._show();
      } catch {
        // the status line says what is wrong
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  }

  async shoot() {
    const blob = await this._frame(4096);
    this.stop();
    await this.add([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
  }

  // --- photos ---

  async add(files) {
    const pictures = files.filter((file) => file.type.startsWith("image/") || /\.(heic|heif|avif|pnm|pgm)$/i.test(file.name));
    if (!pictures.length) {
      if (files.length) this.say(new Refused("unreadable_image", "None of these files is a picture.", 0));
      return;
    }
    if (this.stream) this.stop();
    const made = pictures.map((blob) => ({ blob, url: URL.createObjectURL(blob), faces: null, answers: null }));
    this.photos.push(...made);
    this.at = this.photos.length - made.length;
    this._show();
    for (const photo of made) {
      try {
        Object.assign(photo, await this._found(photo.blob));
      } catch (error) {
        photo.error = error;
      }
      this._show();
    }
  }

  async _found(blob) {
    const found = await call("POST", "/v1/faces", form({ photo: blob }));
    return { ...found, faces: inOrder(found.faces, (face) => face.box) };
  }

  clear() {
    if (this.stream) this.stop();
    this.photos = []; // their addresses stay: the history shows them
    this.at = -1;
    this._show();
    by("camera").focus();
  }

  // What was decided of each face; in the order in which they are shown.
  answered(photo, reply) {
    const answers = inOrder(reply.faces, (one) => one.face.box);
    Object.assign(photo, { width: reply.width, height: reply.height, faces: answers.map((one) => one.face), answers });
    this._show();
    return answers;
  }

  // --- what is shown ---

  _show() {
    const photo = this.stream ? this.live : this.current;
    by("video").hidden = !this.stream;
    const shown = by("shown");
    shown.hidden = Boolean(this.stream) || !this.current || Boolean(this.current.error);
    if (!shown.hidden) {
      shown.src = this.current.url;
      shown.alt = describe(this.current);
    }
    by("empty").hidden = Boolean(this.stream || this.current);
    by("clear").hidden = !this.photos.length;
    this._boxes(photo);
    this._faces(photo);
    this._thumbs();
  }

  _boxes(photo) {
    const svg = by("boxes");
    svg.replaceChildren();
    if (!photo?.faces || !photo.width) return;
    svg.setAttribute("viewBox", `0 0 ${photo.width} ${photo.height}`);
    const { clientWidth, clientHeight } = svg;
    const unit = Math.max(photo.width / clientWidth, photo.height / clientHeight) || 1; // of a pixel of the screen
    const size = TAG_PX * unit;
    photo.faces.forEach((face, i) => {
      const { x, y, width, height } = face.box;
      svg.append(shape("rect", { class: `box ${kind(photo, i)}`, x, y, width, height, rx: 4 * unit }));
      const next = photo.faces[i + 1]?.box; // they are in order from left to right
      const room = Math.min(photo.width, (next && next.x > x + width ? next.x - 4 * unit : photo.width) - x);
      const words = shortly(photo, i);
      const most = Math.max(2, Math.floor(room / (0.62 * size) - 1.4));
      const tag = words.length > most ? `${words.slice(0, most - 1)}…` : words;
      if (!tag) return;
      const wide = Math.min(photo.width, 0.62 * size * (tag.length + 1.4));
      const left = Math.max(0, Math.min(x, photo.width - wide));
      const top = y > 1.7 * size ? y - 1.7 * size : Math.min(y + height, photo.height - 1.6 * size);
      svg.append(
        shape("rect", { class: "tag-back", x: left, y: top, width: wide, height: 1.6 * size, rx: size / 4 }),
        shape("text", { class: "tag", x: left + 0.5 * size, y: top + 1.15 * size, "font-size": size }, tag),
      );
    });
  }

  _faces(photo) {
    const list = by("faces");
    const words = this._words(photo);
    if (list.dataset.words === words) return; // a live region: say a thing once
    list.dataset.words = words;
    const lines = words.split("\n");
    list.replaceChildren(
      ...lines.map((line, i) => element("li", { class: photo?.faces?.length ? kind(photo, i) : "quiet" }, line)),
    );
  }

  _words(photo) {
    if (!this.stream && !photo) return "No picture yet.";
    if (photo?.error) return photo.error.message;
    if (!photo?.faces) return "Looking for faces…";
    if (!photo.faces.length) return "No face was found.";
    return photo.faces
      .map((face, i) => {
        const answer = photo.answers ? `${said(photo.answers[i])}` : "";
        const quality = this.stream ? "" : `, ${Math.round(face.quality.side)} pixels wide`;
        const why = face.reason ? `cannot be used: ${face.reason.detail}` : "can be used";
        const name = photo.faces.length > 1 ? `Face ${i + 1}` : "One face";
        return `${name}${quality}: ${answer || why}`;
      })
      .join("\n");
  }

  _thumbs() {
    const list = by("photos");
    list.hidden = this.photos.length < 2;
    if (list.children.length !== this.photos.length) {
      list.replaceChildren(
        ...this.photos.map((photo, i) =>
          element(
            "li",
            {},
            element(
              "button",
              { type: "button", "aria-label": `Photo ${i + 1}`, onclick: () => this._choose(i) },
              element("img", { src: photo.url, alt: "", onerror: notShown }),
            ),
          ),
        ),
      );
    }
    [...list.querySelectorAll("button")].forEach((one, i) => one.setAttribute("aria-current", i === this.at));
  }

  _choose(i) {
    if (this.stream) this.stop();
    this.at = i;
    this._show();
  }
}

function kind(photo, i) {
  if (photo.faces[i]?.reason) return "bad";
  const answer = photo.answers?.[i];
  return answer ? (answer.match ? "match" : "nobody") : "";
}

// A kind of picture that the desk reads and the browser does not, such as HEIC, or none at all.
function notShown(event) {
  event.target.removeEventListener("error", notShown);
  event.target.src = "/page/icon.svg";
}

// What is said of one face: a decision, or why there is none.
export function said(answer) {
  if (answer.error) return `not asked: ${SHORT[answer.error.code] ?? answer.error.detail}`;
  if (!answer.match) return "nobody who is enrolled";
  const others = answer.candidates.filter((one) => one !== answer.label);
  const name = answer.label ?? "somebody enrolled with another label key";
  return others.length ? `${name} (or ${others.join(", ")})` : name;
}

// The same beside a box: a number, where there are several, and a word.
function shortly(photo, i) {
  const answer = photo.answers?.[i];
  const reason = photo.faces[i].reason;
  let words = "";
  if (answer?.match) words = answer.label ?? "another label key";
  else if (reason) words = SHORT[reason.code] ?? "cannot be used";
  else if (answer) words = answer.error ? "not asked" : "nobody";
  return photo.faces.length > 1 ? `${i + 1} ${words}`.trim() : words;
}

// From left to right, as people read a picture.
function inOrder(list, box) {
  return [...list].sort((a, b) => box(a).x - box(b).x);
}

function describe(photo) {
  if (!photo.faces) return "A photo";
  return photo.faces.length === 1 ? "A photo with one face" : `A photo with ${photo.faces.length} faces`;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}
