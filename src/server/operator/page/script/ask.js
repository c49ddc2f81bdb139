// Requests to the gateway, with the admin token where it is known.
import { at } from "./dom.js";

let onChange = () => {};

function store(text) {
  if (text === token.read()) return;
  if (text === null) sessionStorage.removeItem("token"); else sessionStorage.setItem("token", text);
  onChange();
}

// The token, for this tab only. With it tenants and keys have names, so whoever shows any must know when it changes.
export const token = {
  read: () => sessionStorage.getItem("token"),
  keep: store,
  forget: () => store(null),
  watch: (changed) => { onChange = changed; },
};

export async function ask(path, options = {}, key = token.read()) {
  const headers = { ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

// What an answer says, as JSON; null where it was cut.
export const bodyOf = (response) => response.json().catch(() => null);

export async function problem(response) {
  const body = await bodyOf(response);
  return (body && body.detail) || `The gateway answered with status ${response.status}.`;
}

// A field for the token, where it is not known.
export function askForToken(place) {
  at(`${place}-token`).hidden = Boolean(token.read());
  at(`${place}-key`).required = !token.read();
}

// A request that needs the token: the one in the field, or the one that is known. It is kept once the gateway has taken it, and
// forgotten once it has not; null: the gateway could not be reached.
export async function askWithToken(place, path, method, body) {
  const field = at(`${place}-key`);
  const key = field.value || token.read();
  field.value = "";
  const options = { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const response = await ask(path, options, key).catch(() => null);
  if (response && response.status === 401) token.forget();
  if (response && ![401, 403, 429].includes(response.status)) token.keep(key);
  return response;
}
