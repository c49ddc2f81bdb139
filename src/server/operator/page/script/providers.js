// Providers.
import { make, mark, say } from "./dom.js";
import { age, duration, plural, whole } from "./words.js";

const BREAKERS = { closed: "closed", open: "open: no calls", "half-open": "half-open: probing" };

function providerState(provider) {
  if (!provider.isSetUp) return ["off", "not configured"];
  if (!provider.isOn) return ["off", "disabled"];
  if (provider.refusesKey) return ["bad", "rejects our key"];
  if (provider.breaker === "open") return ["bad", "breaker open"];
  if (provider.health === "disconnected" && provider.error) return ["bad", "unreachable"];
  if (provider.health === "error") return ["bad", "failing"];
  if (provider.breaker !== "closed") return ["warn", "recovering"];
  return ["good", "in use"];
}

// Attempts of the last minute, as far as they are remembered.
function lately({ attempts, failures }) {
  const asked = attempts ? plural(attempts, "attempt", "attempts") : "no attempts";
  return failures ? `${asked}, ${whole.format(failures)} failed` : asked;
}

export function buildProvider(provider) {
  const fact = (name, label) => [make("dt", {}, label), make("dd", { "data-fact": name })];
  const title = make("h3", {}, make("span", {}, provider.name), make("span", { class: "state" }, make("span")));
  const facts = [["breaker", "breaker"], ["flight", "in flight"], ["lately", "last minute"], ["probe", "probe"], ["instances", "instances"], ["faults", "last faults"]];
  return make("li", {}, title, make("dl", {}, ...facts.flatMap(([name, label]) => fact(name, label))));
}

export function showProvider(node, provider) {
  const [is, word] = providerState(provider);
  const state = node.querySelector(".state");
  mark(state, is);
  say(state.firstElementChild, word);
  const fact = (name, text) => say(node.querySelector(`[data-fact=${name}]`), text);
  const models = provider.brokenModels.length ? ` (${provider.brokenModels.map((model) => model || "any model").join(", ")})` : "";
  fact("breaker", (BREAKERS[provider.breaker] || provider.breaker) + models);
  const waiting = provider.waiting ? `, ${provider.waiting} waiting` : "";
  fact("flight", provider.limit === null ? provider.inFlight : `${provider.inFlight} of ${provider.limit}${waiting}`);
  fact("lately", lately(provider.lately));
  fact("probe", provider.error || (provider.latencyMs === null ? provider.health : `${provider.health}, ${duration(provider.latencyMs)}`));
  fact("instances", provider.leftOut ? `${provider.instances}, ${provider.leftOut} ejected` : provider.instances);
  const faults = provider.mishaps.map((fault) => `${fault.code} ×${fault.count}, ${age(fault.agoSeconds)} ago`);
  fact("faults", faults.slice(0, 3).join("; ") || "none");
}
