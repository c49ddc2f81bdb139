// Tenants and API keys by their names: for whoever gives the admin token.
import { ask, problem, token } from "./ask.js";
import { at, say } from "./dom.js";

// Where the page is shown with the token only, to forget the token is to leave.
export const atDoor = {
  is: () => sessionStorage.getItem("door") !== null,
  note: () => sessionStorage.setItem("door", "closed"),
};

// What the picture shows; what the button does depends on the token alone.
export function showNames(areShown) {
  say(at("names-state"), areShown ? "Tenants and keys have their names." : "Tenants and keys are shown as pseudonyms.");
  say(at("names"), !token.read() ? "Show names" : atDoor.is() ? "Sign out" : "Hide names");
}

// A wrong token would only show pseudonyms: an endpoint that needs it says so.
async function check() {
  const key = at("sign-key").value;
  at("sign-key").value = "";
  const response = await ask("/admin/log", {}, key).catch(() => null);
  const why = !response ? "Could not reach the gateway." : response.ok ? "" : await problem(response);
  if (!at("sign").open) return;
  say(at("sign-error"), why);
  if (why) return;
  at("sign").close();
  token.keep(key);
}

at("names").addEventListener("click", () => { if (token.read()) token.forget(); else at("sign").showModal(); });
at("sign-form").addEventListener("submit", (event) => { event.preventDefault(); check(); });
at("sign-no").addEventListener("click", () => at("sign").close());
at("sign").addEventListener("close", () => { say(at("sign-error"), ""); at("names").focus(); });
