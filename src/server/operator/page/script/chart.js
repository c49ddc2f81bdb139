// One chart: bars on each other, or lines, over an axis of time, with marks, a cursor and the same as a table. SVG by hand, as
// wide as its place. It does not know what its numbers mean, nor where they come from.
import { make, say } from "./dom.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [54, 10, 20, 22]; // Pixels around the plot.
const HIGH = 104; // ... of the plot,
const BAND = 12; // and of the band below it.
const LEAST = 2; // Of a bar that must be seen: one failure among a thousand calls.
const APART = 15; // Between the letters of two marks.
const NEAR = 5; // Between the pointer and a mark that it means.

const BANDS = { closed: 2, "half-open": 6, open: 10 };

export const clock = (ms, span) => new Date(ms).toLocaleTimeString("en-GB", span > 7200_000 ? { hour: "2-digit", minute: "2-digit" } : {});

function draw(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Round numbers from 0 to the peak or just above it: 1, 2 or 5 times a power of ten apart, and at least `least`.
function ticks(peak, least) {
  const rough = Math.max(peak / 4, least);
  const power = 10 ** Math.floor(Math.log10(rough));
  const apart = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough * 0.999);
  const count = Math.max(1, Math.ceil(peak / apart - 1e-9));
  return Array.from({ length: count + 1 }, (_, index) => index * apart);
}

// Round times of day, as far apart as there is room.
function timeTicks({ start, end }, width) {
  const room = Math.max(2, Math.floor(width / 62));
  const minutes = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720].find((step) => (end - start) / 60_000 / step <= room) || 720;
  const midnight = new Date(start).setHours(0, 0, 0, 0);
  const apart = minutes * 60_000;
  const found = [];
  for (let at = midnight + Math.ceil((start - midnight) / apart) * apart; at <= end; at += apart) found.push(at);
  return found;
}

// Runs of steps for which something is the same: [what, from, to).
function runs(values) {
  const found = [];
  values.forEach((value, index) => {
    const last = found.at(-1);
    if (last && last[0] === value) last[2] = index + 1;
    else found.push([value, index, index + 1]);
  });
  return found;
}

// series: [{ key, label, kind: "bar" | "line" }], bars from the bottom up. follow(time): the cursor was moved; null: it left.
export function buildChart({ title, unit, series, format, axis = format, least = 1, peak = 0, rest, letters = false, follow }) {
  const when = make("span", { class: "reading" });
  const caption = make("figcaption", {}, make("h3", {}, title), make("small", {}, ""), when);
  const items = series.map(({ key, label, kind }) => make("li", {}, make("span", { class: `swatch ${kind} ${key}` }), `${label} `, make("b", {}, "–")));
  const legend = make("ul", { class: "legend" }, ...items);
  const svg = draw("svg", { role: "img" });
  const slider = make("div", { class: "cursor", role: "slider", tabindex: "0", "aria-label": `${title}: time`, "aria-valuemin": "0" });
  const table = make("table", {});
  const details = make("details", {}, make("summary", {}, "Table", make("span", { class: "hidden" }, ` of ${title}`)), make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Table of ${title}` }, table));
  const plot = make("div", { class: "plot" }, svg, slider);
  const figure = make("figure", { class: "chart" }, caption, legend, plot, details);
  const hatch = `hatch-${title.replace(/\W+/g, "-")}`;
  let frame = null;
  let values = {};
  let bands = null;
  let cursor = null; // The step that is pointed at.

  const width = () => plot.clientWidth;
  const plotWidth = () => width() - LEFT - RIGHT;
  const x = (ms) => LEFT + ((ms - frame.start) / (frame.end - frame.start)) * plotWidth();
  const begins = (index) => frame.from + index * frame.step;
  const ends = (index) => begins(index) + (index === frame.count - 1 ? frame.last : frame.step);
  const isKnown = (index) => series.some(({ key }) => values[key][index] !== null) || Boolean(frame.known[index]);
  const stepOf = (ms) => Math.min(frame.count - 1, Math.max(0, Math.floor((ms - frame.from) / frame.step)));
  const marksOf = (index) => frame.marks.filter((mark) => mark.at >= frame.from && stepOf(mark.at) === index);
  const spell = (index) => `${clock(begins(index), frame.end - frame.start)}${index === frame.count - 1 && frame.last < frame.step ? " (so far)" : ""}`;

  function reading(index) {
    if (!isKnown(index)) return "nothing known";
    const numbers = series.map(({ key, label }) => `${label} ${format(values[key][index])}`);
    if (bands) numbers.push(`breaker ${bands[index]}`);
    return [...numbers, ...marksOf(index).map((mark) => mark.text)].join(", ");
  }

  function scale() {
    const stacked = series.filter(({ kind }) => kind === "bar");
    const heights = Array.from({ length: frame.count }, (_, index) => Math.max(
      stacked.reduce((sum, { key }) => sum + (values[key][index] || 0), 0),
      ...series.filter(({ kind }) => kind === "line").map(({ key }) => values[key][index] || 0),
    ));
    const lines = ticks(peak || Math.max(least, ...heights), least);
    const most = lines.at(-1);
    return { lines, y: (value) => TOP + HIGH - (value / most) * HIGH, tall: (value) => (value ? Math.max(LEAST, (value / most) * HIGH) : 0) };
  }

  function paintAxes({ lines, y }) {
    for (const line of lines) {
      svg.append(draw("path", { class: "grid", d: `M${LEFT} ${y(line).toFixed(1)}h${plotWidth()}` }));
      svg.append(draw("text", { x: LEFT - 6, y: (y(line) + 4).toFixed(1), "text-anchor": "end" }, axis(line)));
    }
    const foot = TOP + HIGH + (bands ? BAND + 4 : 0);
    for (const at of timeTicks(frame, plotWidth())) {
      const place = x(at);
      svg.append(draw("path", { class: "grid", d: `M${place.toFixed(1)} ${foot}v4` }));
      const anchor = place > LEFT + plotWidth() - 20 ? "end" : place < LEFT + 16 ? "start" : "middle";
      svg.append(draw("text", { x: place.toFixed(1), y: foot + 16, "text-anchor": anchor }, clock(at, Infinity)));
    }
  }

  function paintUnknown() {
    const pattern = draw("pattern", { id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    pattern.append(draw("path", { class: "hatching", d: "M0 0v6" }));
    svg.append(pattern);
    const shade = (from, to) => {
      if (x(to) - x(from) > 0.5) svg.append(draw("rect", { class: "unknown", x: x(from).toFixed(1), y: TOP, width: (x(to) - x(from)).toFixed(1), height: HIGH, fill: `url(#${hatch})` }));
    };
    if (frame.from > frame.start) {
      shade(frame.start, frame.from);
      if (x(frame.from) - LEFT > 120) svg.append(draw("text", { class: "plain", x: (LEFT + x(frame.from)) / 2, y: TOP + HIGH / 2, "text-anchor": "middle" }, "before the start"));
    }
    for (const { begins: from, end: to } of frame.failures) {
      svg.append(draw("rect", { class: "failing", x: x(from).toFixed(1), y: TOP, width: Math.max(1, x(to) - x(from)).toFixed(1), height: HIGH }));
    }
    for (const [known, from, to] of runs(Array.from({ length: frame.count }, (_, index) => isKnown(index)))) if (!known) shade(begins(from), ends(to - 1));
  }

  function paintSeries({ y, tall }) {
    const below = new Array(frame.count).fill(0);
    for (const { key, kind } of series) {
      let path = "";
      let isOn = false;
      values[key].forEach((value, index) => {
        const [from, to] = [x(begins(index)), x(ends(index))];
        if (kind === "bar" && value) {
          const [high, wide] = [tall(value), Math.max(0.8, to - from - (to - from > 3 ? 1 : 0))];
          path += `M${from.toFixed(1)} ${(TOP + HIGH - below[index]).toFixed(1)}v${-high.toFixed(1)}h${wide.toFixed(1)}v${high.toFixed(1)}z`;
          below[index] += high;
        } else if (kind === "line" && value !== null) {
          const place = `${((from + to) / 2).toFixed(1)} ${y(value).toFixed(1)}`;
          // A line of no length is a dot: a step between two in which there was nothing.
          path += isOn ? `L${place}` : `M${place}h0`;
        }
        isOn = value !== null;
      });
      svg.append(draw("path", { class: `${kind} ${key}`, d: path || "M0 0" }));
    }
  }

  function paintBands() {
    const foot = TOP + HIGH + BAND + 3;
    svg.append(draw("text", { x: LEFT - 6, y: foot - 2, "text-anchor": "end" }, "breaker"));
    for (const [band, from, to] of runs(bands)) {
      if (!band) continue;
      const high = BANDS[band];
      svg.append(draw("rect", { class: `band ${band}`, x: x(begins(from)).toFixed(1), y: foot - high, width: Math.max(1, x(ends(to - 1)) - x(begins(from))).toFixed(1), height: high }));
    }
  }

  function paintMarks() {
    let groups = [];
    for (const mark of frame.marks) {
      const place = x(mark.at);
      svg.append(draw("path", { class: `mark ${mark.kind}`, d: `M${place.toFixed(1)} ${TOP - 3}v${HIGH + 3}` }));
      const last = groups.at(-1);
      if (last && place - last.place < APART) last.marks.push(mark);
      else groups.push({ place, marks: [mark] });
    }
    if (!letters) return;
    for (const { place, marks } of groups) {
      const isBad = marks.some((mark) => mark.isBad);
      const text = new Set(marks.map((mark) => mark.letter)).size === 1 ? marks[0].letter : String(marks.length);
      const middle = Math.min(LEFT + plotWidth() - 2, Math.max(LEFT + 6, place));
      svg.append(draw("rect", { class: `flagpole${isBad ? " bad" : ""}`, x: middle - 7, y: 2, width: 14, height: 14, rx: 3 }));
      svg.append(draw("text", { class: `letter${isBad ? " bad" : ""}`, x: middle, y: 13, "text-anchor": "middle" }, text));
    }
  }

  function paint() {
    if (!frame || !width()) return;
    const high = TOP + HIGH + BOTTOM + (bands ? BAND + 4 : 0);
    svg.replaceChildren();
    for (const [name, value] of Object.entries({ width: width(), height: high, viewBox: `0 0 ${width()} ${high}` })) svg.setAttribute(name, value);
    const scaled = scale();
    paintUnknown();
    paintAxes(scaled);
    paintSeries(scaled);
    if (bands) paintBands();
    paintMarks();
    svg.append(draw("path", { class: "pointer", d: "M0 0" }));
    paintCursor();
  }

  function paintCursor() {
    const pointer = svg.lastElementChild;
    if (!frame || !pointer) return;
    const isOn = cursor !== null && cursor < frame.count;
    const place = isOn ? (x(begins(cursor)) + x(ends(cursor))) / 2 : 0;
    pointer.setAttribute("d", isOn ? `M${place.toFixed(1)} ${TOP}v${HIGH + (bands ? BAND + 3 : 0)}` : "M0 0");
    say(when, isOn ? [spell(cursor), ...(letters ? marksOf(cursor).map((mark) => mark.text) : [])].join(" · ") : rest);
    series.forEach(({ key, total }, index) => say(items[index].querySelector("b"), format(isOn ? values[key][cursor] : total(values[key]))));
    if (bands) figure.dataset.breaker = (isOn ? bands[cursor] : bands.at(-1)) || "unknown";
    slider.setAttribute("aria-valuenow", isOn ? cursor : Math.max(0, frame.count - 1));
    const read = isOn ? cursor : frame.count - 1;
    slider.setAttribute("aria-valuetext", frame.count ? `${spell(read)}: ${reading(read)}` : "nothing known yet");
  }

  function fillTable() {
    if (!details.open || !frame) return;
    const heads = ["Time", ...series.map(({ label }) => label), ...(bands ? ["Breaker"] : [])];
    const head = make("thead", {}, make("tr", {}, ...heads.map((text, index) => make("th", { scope: "col", class: index ? "number" : "" }, text))));
    const body = make("tbody", {});
    for (let index = frame.count - 1; index >= 0; index -= 1) {
      const cells = series.map(({ key }) => make("td", { class: "number" }, format(values[key][index])));
      if (bands) cells.push(make("td", { class: "number" }, bands[index] || "–"));
      body.append(make("tr", {}, make("th", { scope: "row" }, spell(index)), ...cells));
    }
    table.replaceChildren(head, body);
  }

  // Where the pointer is: the step there, or that of a mark beside it.
  function pointed(event) {
    const place = event.clientX - svg.getBoundingClientRect().left;
    const time = frame.start + ((place - LEFT) / plotWidth()) * (frame.end - frame.start);
    const mark = frame.marks.find((it) => Math.abs(x(it.at) - place) <= NEAR);
    return begins(stepOf(mark ? mark.at : time));
  }

  function moved(event) {
    if (!frame || !frame.count) return;
    const now = cursor ?? frame.count;
    const marked = [...new Set(frame.marks.filter((mark) => mark.at >= frame.from).map((mark) => stepOf(mark.at)))];
    const to = {
      ArrowLeft: () => now - 1,
      ArrowRight: () => now + 1,
      Home: () => 0,
      End: () => frame.count - 1,
      PageUp: () => marked.findLast((index) => index < now) ?? now,
      PageDown: () => marked.find((index) => index > now) ?? now,
    }[event.key];
    if (event.key === "Escape") follow(null);
    else if (to) follow(begins(Math.min(frame.count - 1, Math.max(0, to()))));
    else return;
    event.preventDefault();
  }

  slider.addEventListener("keydown", moved);
  slider.addEventListener("pointermove", (event) => { if (frame && frame.count) follow(pointed(event)); });
  slider.addEventListener("pointerdown", (event) => { if (frame && frame.count) follow(pointed(event)); });
  slider.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== slider) follow(null); });
  details.addEventListener("toggle", fillTable);
  new ResizeObserver(paint).observe(plot);

  return {
    figure,
    // frame: { start, end } of the axis; { from, step, count, last } of the steps, in milliseconds; known; marks; failures.
    show(newFrame, newValues, { summary, band = null }) {
      [frame, values, bands] = [newFrame, newValues, band];
      say(caption.querySelector("small"), unit(frame));
      svg.setAttribute("aria-label", summary);
      slider.setAttribute("aria-valuemax", Math.max(0, frame.count - 1));
      paint();
      fillTable();
    },
    point(ms) {
      if (!frame) return;
      cursor = ms === null || !frame.count || ms < frame.from ? null : stepOf(ms);
      paintCursor();
    },
  };
}
