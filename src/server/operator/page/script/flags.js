// The switches: /api/flags.
import { ask, askForToken, askWithToken, bodyOf, problem } from "./ask.js";
import { at, keep, make, say } from "./dom.js";
import { plural } from "./words.js";

const FLAGS = 2000; // Milliseconds between two looks at the switches.

async function showFlags() {
  const response = await ask("/api/flags").catch(() => null);
  if (!response || !response.ok) {
    // Without the API there is nothing to switch; while the gateway is away, what was known stays.
    if (response) at("switches-section").hidden = true;
    return;
  }
  const body = await bodyOf(response);
  if (!body) return;
  const flags = body.flags || [];
  at("switches-section").hidden = flags.length === 0;
  // In sight is what sends calls elsewhere, and what is not as it usually is.
  const isInSight = (flag) => flag.key.startsWith("use_") || flag.is !== "on";
  const others = flags.filter((flag) => !isInSight(flag));
  keep(at("switches"), flags.filter(isInSight), (flag) => flag.key, buildFlag, showFlag);
  keep(at("others"), others, (flag) => flag.key, buildFlag, showFlag);
  at("other-switches").hidden = others.length === 0;
  say(at("other-summary"), `${plural(others.length, "other flag is", "other flags are")} on`);
}

function buildFlag(flag) {
  const button = make("button", { role: "switch", type: "button", "aria-label": flag.key });
  button.addEventListener("click", () => askToThrow(shown.get(flag.key), button));
  return make("li", {}, make("code", { "aria-hidden": "true" }, flag.key), button);
}

const shown = new Map(); // Flags as they were seen last.

function showFlag(node, flag) {
  shown.set(flag.key, flag);
  const button = node.querySelector("button");
  if (button.getAttribute("aria-checked") !== String(flag.enabled)) button.setAttribute("aria-checked", flag.enabled);
  say(button, flag.is);
}

let thrown = null;

// Who is meant stays as it is; and nobody's change that was not seen here is undone by this one.
function askToThrow({ key, enabled: wasEnabled, rolloutPercentage, tenants, tiers, version }, button) {
  const enabled = !wasEnabled;
  thrown = { key, button, wanted: { enabled, rolloutPercentage, tenants, tiers, version } };
  at("throw-yes").disabled = false;
  say(at("throw-title"), `Turn ${key} ${enabled ? "on" : "off"}?`);
  say(at("throw-text"), "It takes effect with the next call, at every gateway that shares a store with this one.");
  say(at("throw-error"), "");
  askForToken("throw");
  at("throw").showModal();
}

async function throwIt() {
  const mine = thrown;
  at("throw-yes").disabled = true;
  const response = await askWithToken("throw", `/api/flags/${encodeURIComponent(mine.key)}`, "PUT", mine.wanted);
  const why = !response ? "Could not reach the gateway; it is not known whether anything was changed." : response.ok ? "" : await problem(response);
  // Meanwhile the question may have been left, and another asked.
  if (thrown !== mine) return showFlags();
  at("throw-yes").disabled = false;
  if (!why) {
    at("throw").close();
    return showFlags();
  }
  say(at("throw-error"), why);
  askForToken("throw");
  if (response && response.status === 401) at("throw-key").focus();
}

// Looks at the switches again and again, as long as somebody looks at the page.
export function watchFlags() {
  showFlags();
  setInterval(() => { if (!document.hidden && at("door").hidden) showFlags(); }, FLAGS);
}

at("throw-form").addEventListener("submit", (event) => { event.preventDefault(); throwIt(); });
at("throw-no").addEventListener("click", () => at("throw").close());
at("throw").addEventListener("close", () => {
  if (thrown) thrown.button.focus();
  thrown = null;
});
