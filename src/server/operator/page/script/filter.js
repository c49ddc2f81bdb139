// Which calls are listed: the conditions are in the page's address, so that a link can show the same list; and the pause.
import { at, keep, make, say } from "./dom.js";
import { plural } from "./words.js";

const FIELDS = ["route", "outcome", "provider", "tenant"]; // Conditions that have a field,
const LINKED = ["variant", "limit_rule", "budget", "slow"]; // and those that only links have. How the list is made is no condition.
const PLACE = "#calls";
const START = `${PLACE}?`;

// Whether an address says anything of the conditions: another place of the page does not.
const isOfCalls = (hash) => hash === "" || hash === PLACE || hash.startsWith(START);

function read(hash) {
  const found = new URLSearchParams(hash.startsWith(START) ? hash.slice(START.length) : "");
  const allowed = [...found].filter(([name, value]) => value && [...FIELDS, ...LINKED].includes(name));
  return new URLSearchParams(Object.fromEntries(allowed));
}

let wanted = read(location.hash);

// The conditions, as the query of a request.
export const query = () => wanted.toString();

function showConditions() {
  for (const name of FIELDS) {
    const field = at(`filter-${name}`);
    const value = wanted.get(name) || "";
    // A link may ask for what the list does not know yet, such as a fault's code.
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) field.append(make("option", { value, "data-key": value }, value));
    if (field.value !== value) field.value = value;
  }
  const others = [...wanted].filter(([name]) => !FIELDS.includes(name)).map(([name, value]) => `${name.replace("_", " ")} ${value}`);
  say(at("filter-others"), others.join(", "));
  at("filter-clear").hidden = [...wanted].length === 0;
}

function change(name, value) {
  if (value) wanted.set(name, value); else wanted.delete(name);
  go(wanted.toString());
}

// Kept without an entry in the history: a change of a field is no step that somebody wants to go back to.
function go(conditions) {
  history.replaceState(null, "", conditions ? `${START}${conditions}` : location.pathname);
  conditionsChanged();
}

let onChange = () => {};
function conditionsChanged() {
  wanted = read(location.hash);
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

// From now on calls are counted that the paused list does not show: it was read anew.
export function countFrom(count) {
  if (isPaused()) paused = count;
}

// Says how many calls have ended since the pause, of all that there were: fewer than before were another gateway's.
export function countSince(count) {
  if (paused < 0 || count < paused) paused = count;
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
    if (!isOfCalls(location.hash)) return;
    conditionsChanged();
    if (query()) at("calls").scrollIntoView({ block: "start" });
  });
  showConditions();
}
