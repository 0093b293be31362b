// The API of this desk: calls, tokens, and errors as people read them.

const SAID = {
  several_faces: "There are several faces on a photo. Choose one with a single face.",
  no_face: "No face was found.",
  unauthenticated: "This desk needs a token.",
  budget_spent: "No questions are left for now.",
};

export class Refused extends Error {
  constructor(code, detail, status) {
    super(detail);
    this.code = code;
    this.status = status;
  }
}

let askForToken = async () => null;

export function onToken(ask) {
  askForToken = ask;
}

export async function call(method, path, body) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  let reply;
  try {
    reply = await fetch(path, { method, body, headers, cache: "no-store" });
  } catch {
    throw new Refused("desk_away", "The desk does not answer. Is it still running?", 0);
  }
  if (reply.ok) return reply.json();
  const said = await reply.json().catch(() => ({}));
  if (reply.status === 401) {
    const given = await askForToken();
    if (given) {
      sessionStorage.setItem("token", given);
      return call(method, path, body);
    }
  }
  throw new Refused(said.code ?? "internal", SAID[said.code] ?? said.detail ?? "Something went wrong.", reply.status);
}

export function form(fields) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one instanceof Blob) made.append(name, one, one.name ?? "photo.jpg");
      else if (one !== null && one !== undefined) made.append(name, one);
    }
  }
  return made;
}

// Elements without markup: nothing that comes from outside is ever HTML.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

export const by = (id) => document.getElementById(id);
