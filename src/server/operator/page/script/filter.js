// Which calls are listed: the conditions are in the page's address, so that a link can show the same list; and the pause.
import { at, keep, make, say } from "./dom.js";
import { plural } from "./words.js";

const FIELDS = ["route", "outcome", "provider", "tenant"]; // Conditions that have a field; links may have others.
const START = "#calls?";

// The conditions, as the query of a request.
export const query = () => location.hash.startsWith(START) ? location.hash.slice(START.length) : "";

const conditions = () => new URLSearchParams(query());

function showConditions() {
  const wanted = conditions();
  for (const name of FIELDS) {
    const field = at(`filter-${name}`);
    const value = wanted.get(name) || "";
    // A link may ask for what the list does not know yet, such as a fault's code.
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) field.append(make("option", { value }, value));
    if (field.value !== value) field.value = value;
  }
  const others = [...wanted].filter(([name]) => !FIELDS.includes(name)).map(([name, value]) => `${name.replace("_", " ")} ${value}`);
  say(at("filter-others"), others.join(", "));
  at("filter-clear").hidden = [...wanted].length === 0;
}

function change(name, value) {
  const wanted = conditions();
  if (value) wanted.set(name, value); else wanted.delete(name);
  go(wanted.toString());
}

// Kept without an entry in the history: a change of a field is no step that somebody wants to go back to.
function go(wanted) {
  history.replaceState(null, "", wanted ? `${START}${wanted}` : location.pathname);
  conditionsChanged();
}

let onChange = () => {};
function conditionsChanged() {
  showConditions();
  onChange();
}

// The names that there are to choose from.
export function offer(name, values) {
  const field = at(`filter-${name}`);
  const chosen = field.value;
  const known = [...field.options].map((option) => option.value);
  if (values.every((value) => known.includes(value))) return;
  keep(field, ["", ...values, ...known.filter((value) => value && !values.includes(value))], (value) => value, (value) => make("option", { value }, value || "all"), () => {});
  field.value = chosen;
}

let paused = null; // How many calls had ended when the list was paused.
export const isPaused = () => paused !== null;

// Says how many calls have ended since the pause, of all that there were.
export function countSince(count) {
  if (paused < 0) paused = count;
  say(at("pause-state"), `Paused. ${plural(count - paused, "call has", "calls have")} ended since.`);
}

at("pause").addEventListener("click", () => {
  paused = isPaused() ? null : -1;
  at("pause").setAttribute("aria-pressed", String(isPaused()));
  say(at("pause"), isPaused() ? "Resume" : "Pause");
  say(at("pause-state"), isPaused() ? "Paused." : "");
  onChange();
});
at("filter").addEventListener("submit", (event) => event.preventDefault());
for (const name of FIELDS) at(`filter-${name}`).addEventListener("change", (event) => change(name, event.target.value.trim()));
at("filter-clear").addEventListener("click", () => { go(""); at("filter-route").focus(); });

// Shows the list of a link that is followed.
export function watchConditions(changed) {
  onChange = changed;
  addEventListener("hashchange", () => {
    conditionsChanged();
    if (query()) at("calls").scrollIntoView({ block: "start" });
  });
  showConditions();
}
