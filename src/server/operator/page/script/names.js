// Tenants and API keys by their names: for whoever gives the admin token.
import { ask, problem, token } from "./ask.js";
import { at, say } from "./dom.js";

export function showNames() {
  const knows = Boolean(token.read());
  say(at("names-state"), knows ? "Tenants and keys have their names." : "Tenants and keys are shown as marks.");
  say(at("names"), knows ? "Hide names" : "Show names");
}

// A wrong token would only show marks: an endpoint that needs it says so.
async function check() {
  token.keep(at("sign-key").value);
  at("sign-key").value = "";
  const response = await ask("/admin/log").catch(() => null);
  if (response && response.ok) return "";
  token.forget();
  return response ? problem(response) : "Could not reach the gateway.";
}

// `changed` is called when there are names to be seen, or none any more.
export function watchNames(changed) {
  at("names").addEventListener("click", () => {
    if (!token.read()) return at("sign").showModal();
    token.forget();
    showNames();
    changed();
  });
  at("sign-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const why = await check();
    say(at("sign-error"), why);
    if (why) return;
    at("sign").close();
    showNames();
    changed();
  });
  at("sign-no").addEventListener("click", () => at("sign").close());
  at("sign").addEventListener("close", () => { say(at("sign-error"), ""); at("names").focus(); });
  showNames();
}
