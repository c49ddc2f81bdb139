// Requests to the gateway, with the admin token where it is known.
import { at } from "./dom.js";

// The token, for this tab only.
export const token = {
  read: () => sessionStorage.getItem("token"),
  keep: (text) => sessionStorage.setItem("token", text),
  forget: () => sessionStorage.removeItem("token"),
};

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token.read()) headers.authorization = `Bearer ${token.read()}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

export async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return body.detail || `The gateway answered with status ${response.status}.`;
}

// A field for the token, where it is not known.
export function askForToken(place) {
  at(`${place}-token`).hidden = Boolean(token.read());
  at(`${place}-key`).required = !token.read();
}
