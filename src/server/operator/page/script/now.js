// The header, and current problems.
import { at, keep, make, mark, say } from "./dom.js";
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

export function showNotices(notices) {
  const shown = notices.length ? notices : [{ level: "good", text: "No problems known to the gateway." }];
  // By its text: what stays true is not read out again, nor how long it has been true.
  const build = (notice) => make("li", {}, notice.text, " ", make("small", { "aria-live": "off" }));
  keep(at("notices"), shown, (notice) => notice.text, build, (node, notice) => {
    if (node.className !== notice.level) node.className = notice.level;
    say(node.lastElementChild, notice.agoSeconds === undefined ? "" : `${age(notice.agoSeconds)} ago`);
  });
}
