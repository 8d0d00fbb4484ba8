// How long each part of the last failovers took: stacked bars, their legend, and the same as a table.

import { el, svg } from "./dom.js";
import { table } from "./groups.js";
import { clock, duration, gatewayOf, step } from "./words.js";

const SHOWN = 8;
const BAR_PX = 20;
const LETTER_PX = 7;
const KINDS = ["noticed", "suspected", "departed", "fenced", "promoted", "confirmed"];

// The steps between a record's marks: {what, took_s}. The first mark is where the record begins.
export function steps(record) {
  return record.phases.slice(1).map((mark, at) => ({ what: mark.what, took_s: mark.at_s - record.phases[at].at_s }));
}

function kind(what) {
  return KINDS.includes(what) ? `s-${what}` : "s-other";
}

function title(record) {
  const way = `${gatewayOf(record.from) || "nobody"} → ${gatewayOf(record.to) || "nobody"}`;
  return `ANA group ${record.anagrp_id}, ${way}`;
}

function bar(record, most_s, width) {
  let at = 0;
  const parts = steps(record).map(({ what, took_s }) => {
    const [left, wide] = [at, took_s / most_s * width];
    at += wide;
    const text = duration(took_s);
    return svg("g", {}, svg("title", {}, `${step(what)}: ${text}`),
      svg("rect", { x: left.toFixed(1), y: 0, width: Math.max(0, wide).toFixed(1), height: BAR_PX,
        class: kind(what) }),
      text.length * LETTER_PX + 8 < wide
        ? svg("text", { x: (left + 4).toFixed(1), y: 14, class: "inside" }, text) : null);
  });
  return svg("svg", { role: "img", width, height: BAR_PX, viewBox: `0 0 ${width} ${BAR_PX}`,
    "aria-label": steps(record).map(({ what, took_s }) => `${step(what)} ${duration(took_s)}`).join(", ") }, parts);
}

function inWords(records) {
  const columns = [...new Set(records.flatMap((r) => steps(r).map((s) => s.what)))]
    .sort((one, other) => order(one) - order(other));
  const rows = records.map((record) => ({
    key: `bar${record.number}`,
    cells: [clock(Date.parse(record.began) / 1000, true), title(record), duration(record.took_s),
      ...columns.map((what) => {
        const of = steps(record).filter((s) => s.what === what);
        return of.length ? duration(of.reduce((sum, s) => sum + s.took_s, 0)) : "";
      })],
  }));
  return el("details", { "data-key": "phases" }, el("summary", {}, "Phase durations as a table"),
    table("How long each part took, newest first", ["Began (UTC)", "Failover of", "In all", ...columns.map(step)],
      rows));
}

function order(what) {
  const at = KINDS.indexOf(what);
  return at < 0 ? KINDS.length : at;
}

export function failovers(records, width) {
  const last = records.filter((r) => r.kind === "failover" && r.phases.length > 1).slice(-SHOWN).reverse();
  if (!last.length) {
    return el("section", { class: "picture", "data-key": "failovers" }, el("h3", {}, "Phases of the last failovers"),
      el("p", { class: "none" }, "No failover is recorded."));
  }
  const most_s = Math.max(...last.map((r) => r.took_s), 0.001);
  const present = [...new Set(last.flatMap((r) => steps(r).map((s) => s.what)))].sort((a, b) => order(a) - order(b));
  return el("section", { class: "picture", "data-key": "failovers" }, el("h3", {}, "Phases of the last failovers"),
    el("ol", { class: "bars" }, last.map((record) => el("li", { "data-key": `${record.number}` },
      el("p", {}, el("time", { datetime: record.began }, clock(Date.parse(record.began) / 1000, true)), " ",
        title(record), ": ", el("strong", {}, duration(record.took_s)),
        record.outcome === "done" ? "" : ` (${record.outcome})`),
      bar(record, most_s, width)))),
    el("ul", { class: "legend" }, present.map((what) => el("li", {},
      el("span", { class: `swatch ${kind(what)}`, "aria-hidden": "true" }), step(what)))),
    inWords(last));
}
