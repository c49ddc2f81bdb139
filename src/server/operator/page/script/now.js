// The header, and current problems.
import { at, keep, make, mark, say } from "./dom.js";
import { read } from "./story.js";
import { age, whole } from "./words.js";

const STATES = { healthy: ["good", "healthy"], degraded: ["warn", "degraded"], unhealthy: ["bad", "unhealthy"] };

export function showHead(picture) {
  const [is, word] = STATES[picture.status] || ["wait", picture.status];
  mark(at("status"), is);
  say(at("status").firstElementChild, word);
  say(at("environment"), picture.environment);
  say(at("version"), picture.version);
  say(at("uptime"), age(picture.uptimeSeconds));
  say(at("generation"), `no. ${picture.generation}`);
  say(at("memory"), picture.memoryBytes ? `${whole.format(picture.memoryBytes / 1048576)} MiB` : "–");
  const bad = picture.notices.filter((notice) => notice.level === "bad").length;
  say(document.querySelector("title"), bad ? `(${bad}) Tidegate` : "Tidegate");
}

function buildNotice(notice) {
  const item = make("li", {}, make("span", {}, notice.text), " ", make("small", { "aria-live": "off" }));
  if (notice.runbook) {
    const link = make("a", { href: `/page/${notice.runbook}.txt`, "aria-label": `Runbook: ${notice.runbook}` }, "Runbook");
    link.addEventListener("click", (event) => { event.preventDefault(); read(`Runbook: ${notice.runbook}`, `/page/${notice.runbook}.txt`); });
    item.append(" ", link);
  }
  if (notice.calls) item.append(" ", make("a", { href: `#calls?${notice.calls}`, "aria-label": `Calls: ${notice.text}` }, "Calls"));
  return item;
}

export function showNotices(notices) {
  const calm = { level: "good", text: "No problems known to the gateway." };
  const shown = notices.some((notice) => notice.level !== "note") ? notices : [calm, ...notices];
  // By its text: what stays true is not read out again, nor how much or how long it has been true.
  keep(at("notices"), shown, (notice) => notice.text, buildNotice, (node, notice) => {
    if (node.className !== notice.level) node.className = notice.level;
    const ago = typeof notice.agoSeconds === "number" ? `${age(notice.agoSeconds)} ago` : "";
    say(node.querySelector("small"), [notice.detail, ago].filter(Boolean).join(", "));
  });
}
