// Traffic of the last minute.
import { at, say } from "./dom.js";
import { dollars, duration, number, percent, plural, sum, whole } from "./words.js";

export function showTraffic(traffic) {
  const [calls, failures] = [sum(traffic.calls), sum(traffic.failures)];
  say(at("rate"), number.format(sum(traffic.calls.slice(-10)) / 10));
  say(at("rate-foot"), `${plural(calls, "call", "calls")}, ${whole.format(traffic.refused)} refused, ${whole.format(traffic.left)} cancelled`);
  // Of the calls that the gateway owed an answer, those that got one, whole; the rest is said.
  const judged = calls - traffic.refused - traffic.left;
  say(at("success"), judged > 0 ? percent((judged - failures) / judged) : "–");
  say(at("success-foot"), judged > 0 || calls ? successFoot(traffic, judged, failures) : "no calls");
  for (const [name, times] of [["took", traffic.durationMs], ["first", traffic.firstTokenMs]]) {
    for (const rank of ["p50", "p95", "p99"]) say(at(`${name}-${rank}`), duration(times && times[rank]));
  }
  say(at("hits"), traffic.lookedFor ? percent(traffic.kept / traffic.lookedFor) : "–");
  say(at("hits-foot"), traffic.lookedFor ? `${whole.format(traffic.kept)} of ${whole.format(traffic.lookedFor)}` : "no lookups");
  say(at("cost"), dollars(traffic.costUsd));
  showSpark(traffic, calls, failures);
}

function successFoot(traffic, judged, failures) {
  const degraded = traffic.degraded ? `, ${whole.format(traffic.degraded)} degraded` : "";
  const counted = `${whole.format(judged - failures)} of ${whole.format(judged)} answered${degraded}`;
  const out = [
    [traffic.limited, "refused by limits and budgets"],
    [traffic.refused - traffic.limited, "other 4xx"],
    [traffic.left, "cancelled by their callers"],
  ];
  const left = out.filter(([count]) => count > 0).map(([count, what]) => `${whole.format(count)} ${what}`);
  return left.length ? `${counted}. Not counted: ${left.join(", ")}.` : counted;
}

function showSpark(traffic, calls, failures) {
  const spark = at("spark");
  const [width, height] = [240, 44];
  const peak = Math.max(4, ...traffic.calls);
  const step = width / traffic.calls.length;
  const bars = (counts) => counts.map((count, index) => {
    const tall = (count / peak) * (height - 2);
    return count ? `M${(index * step).toFixed(1)} ${height}v${-tall.toFixed(1)}h${(step - 1).toFixed(1)}v${tall.toFixed(1)}z` : "";
  }).join("");
  if (!spark.firstChild) {
    for (const name of ["calls", "failures"]) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", name);
      spark.append(path);
    }
  }
  spark.children[0].setAttribute("d", bars(traffic.calls));
  spark.children[1].setAttribute("d", bars(traffic.failures));
  const most = Math.max(...traffic.calls);
  spark.setAttribute("aria-label", `Calls in the last minute: ${calls}, at most ${most} per second; ${failures} failed`);
}
