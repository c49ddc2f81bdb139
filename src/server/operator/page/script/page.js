// The live page: reads events from /admin/live, one a second, and shows them. No library, and nothing from elsewhere.
import { ask, askForToken, problem, token } from "./ask.js";
import { buildBudget, showBudget } from "./budgets.js";
import { clearCalls, followCalls, showCallsNow } from "./calls.js";
import { at, keep, mark, say } from "./dom.js";
import { offer, watchConditions } from "./filter.js";
import { watchFlags } from "./flags.js";
import { followHistory } from "./history.js";
import { showJobs } from "./jobs.js";
import { buildLimit, showLimit } from "./limits.js";
import { atDoor, showNames } from "./names.js";
import { showHead, showNotices } from "./now.js";
import { buildProvider, showProvider } from "./providers.js";
import { tellAgain } from "./story.js";
import { showTraffic } from "./traffic.js";
import { showVariants } from "./variants.js";
import { followGeneration } from "./what_if.js";
import { clock } from "./words.js";

const LATE = 3500; // Milliseconds without an event after which the connection counts as lost.
const AGAIN = 1500; // ... and between two tries to get it back.

function show(picture) {
  showHead(picture);
  showNames(picture.showsNames);
  followGeneration(picture.generation);
  showNotices(picture.notices);
  showTraffic(picture.traffic);
  followHistory(picture.at);
  keep(at("providers"), picture.providers, (provider) => provider.name, buildProvider, showProvider);
  offer("route", picture.routes);
  offer("provider", picture.providers.map((provider) => provider.name));
  followCalls(picture);
  keep(at("limits"), picture.limits, (limit) => limit.rule, buildLimit, showLimit);
  at("limits-empty").hidden = picture.limits.length > 0;
  showVariants(picture.variants, picture.remembers);
  showJobs(picture.jobs);
  keep(at("budgets"), picture.budgets, (budget) => budget.budget, buildBudget, showBudget);
  at("budgets-section").hidden = picture.budgets.length === 0;
}

// The connection

let latest = null; // The time of the last picture, by the gateway's clock.
let watchdog = 0;
let leaving = null;

function lost(why) {
  document.body.dataset.lost = "";
  mark(at("status"), "bad");
  say(at("status").firstElementChild, "connection lost");
  say(document.querySelector("title"), "(lost) Tidegate");
  say(at("lost"), `${why}${latest ? ` This page shows the state of ${clock(latest)}.` : ""} Reconnecting.`);
  at("lost").hidden = false;
}

function found() {
  delete document.body.dataset.lost;
  at("lost").hidden = true;
}

function awaitNext() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => {
    lost("The connection to the gateway was lost.");
    leaving.abort();
  }, LATE);
}

function closeDoor(is) {
  at("door").hidden = !is;
  at("picture").hidden = is;
}

async function watch() {
  const mine = new AbortController();
  leaving = mine;
  awaitNext();
  const key = token.read();
  const response = await ask("/admin/live", { signal: mine.signal }, key);
  if (response.status === 401 || response.status === 403 || response.status === 429) {
    clearTimeout(watchdog);
    say(at("door-error"), token.read() || response.status !== 401 ? await problem(response) : "");
    token.forget();
    atDoor.note();
    closeDoor(true);
    return false;
  }
  if (!response.ok) throw new Error(await problem(response));
  closeDoor(false);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return true;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (!data) continue;
      // Left, but its last words had been read: they may hold names that nobody should see any more.
      if (mine.signal.aborted) return true;
      const picture = JSON.parse(data.slice(6));
      latest = picture.at;
      found();
      show(picture);
      awaitNext();
      // The token of another gateway, or of yesterday.
      if (key && !picture.showsNames) token.forget();
    }
  }
}

// Streams that were ended here, to begin again with the token or without it.
const restarted = new WeakSet();
const isRestarted = (stream) => restarted.has(stream);

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
let isWatching = false;

async function keepWatching() {
  if (isWatching) return;
  isWatching = true;
  while (!document.hidden) {
    try {
      if (!(await watch())) break;
      if (isRestarted(leaving)) continue;
      lost("The gateway closed the connection.");
    } catch (fault) {
      if (document.hidden) break;
      if (isRestarted(leaving)) continue;
      const why = fault.name === "AbortError" || fault instanceof TypeError ? "The connection to the gateway was lost." : fault.message;
      lost(why);
    }
    clearTimeout(watchdog);
    await pause(AGAIN);
  }
  clearTimeout(watchdog);
  isWatching = false;
}

// Nobody looks at a hidden page: it gives its seat to others.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { if (leaving) leaving.abort(); } else keepWatching();
});
at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token.keep(at("key").value);
  at("key").value = "";
  closeDoor(false);
  keepWatching();
});
watchConditions(showCallsNow);
// With names from now on, or without: nothing of the other kind stays, and the stream begins again, with the calls.
token.watch(() => {
  clearCalls();
  at("limits").replaceChildren();
  tellAgain();
  showNames(false);
  askForToken("what-if");
  if (!leaving) return;
  restarted.add(leaving);
  leaving.abort();
});
showNames(false);
keepWatching();
watchFlags();
