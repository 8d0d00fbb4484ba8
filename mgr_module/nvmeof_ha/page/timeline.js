// The picture of who served each ANA group when, from the history's records and the state now.

import { el, svg } from "./dom.js";
import { clock, count, duration, gatewayOf, phase } from "./words.js";

export const RANGES = [[600, "10 min"], [3600, "1 h"], [6 * 3600, "6 h"], [86400, "24 h"], [7 * 86400, "7 d"]];
const LABEL_PX = 58;
const LANE_PX = 26;
const GAP_PX = 10;
const AXIS_PX = 22;
const THINNEST_PX = 3;
const MARK_PX = 3;
const LETTER_PX = 7.2;
const TICKS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];

// One ANA group's past, oldest first: {from, to, holder} while somebody (or nobody) served it, {from, to, record} while
// it changed, and {from, to, phase} for what lasts now.
export function past(ana, records, now) {
  const found = [];
  let at = -Infinity;
  let holder;
  for (const record of records.filter((r) => r.anagrp_id === ana.id)) {
    const began = Date.parse(record.began) / 1000;
    found.push({ from: at, to: began, holder: gatewayOf(record.from) });
    at = began + record.took_s;
    found.push({ from: began, to: at, record });
    holder = gatewayOf({ done: record.to, abandoned: record.from }[record.outcome] || null);
  }
  const since = ana.phase_for_s === null ? at : Math.max(at, now - ana.phase_for_s);
  if (ana.phase === "ACTIVE") {
    found.push({ from: holder === undefined && !ana.phase_for_longer ? since : at, to: now, holder: ana.holder });
  } else {
    if (holder) {
      found.push({ from: at, to: since, holder });
    }
    found.push({ from: since, to: now, phase: ana.phase });
  }
  return found.filter((part) => part.to > part.from);
}

function kindOf(part, colour) {
  if (part.record) {
    return ["failover", "loss"].includes(part.record.kind) || part.record.outcome !== "done" ? "failing" : "moving";
  }
  if (part.phase) {
    return part.phase === "PROMOTING" || part.phase === "DRAINING" ? "moving" : "failing";
  }
  return colour(part.holder);
}

function told(part) {
  const when = `${Number.isFinite(part.from) ? `from ${clock(part.from, true)}` : "before"} to ${clock(part.to)}`;
  if (part.record) {
    const { kind, outcome, took_s, cause } = part.record;
    return `${kind} (${outcome}), ${duration(took_s)}, ${when}: ${cause}`;
  }
  return `${part.phase ? phase(part.phase) : part.holder === null ? "served by nobody" : part.holder} ${when}`;
}

function lane(ana, parts, x, y, width, colour) {
  const drawn = parts.map((part) => {
    const left = Math.max(LABEL_PX, x(part.from));
    let [at, wide] = [left, x(part.to) - left];
    if ((part.record || part.phase) && wide < THINNEST_PX) {
      [at, wide] = [Math.min(left, width - THINNEST_PX), THINNEST_PX];
    }
    if (wide <= 0 || x(part.to) < LABEL_PX) {
      return null;
    }
    const name = part.holder || "";
    const fits = name && name.length * LETTER_PX + 12 < wide;
    const above = part.record || part.phase ? MARK_PX : 0;   // a change of some milliseconds must be found
    return { part, node: svg("g", {}, svg("title", {}, told(part)),
      svg("rect", { x: at.toFixed(1), y: y - above, width: wide.toFixed(1), height: LANE_PX + 2 * above,
        class: kindOf(part, colour) }),
      fits ? svg("text", { x: (at + 6).toFixed(1), y: y + 17, class: "inside" }, name) : null) };
  }).filter((found) => found);
  // What is short lies above what lasts, else it could not be seen.
  const isShort = ({ part }) => Boolean(part.record || part.phase);
  return [svg("text", { x: 0, y: y + 17, class: "lane" }, `ANA ${ana.id}`),
    ...drawn.filter((d) => !isShort(d)).map((d) => d.node), ...drawn.filter(isShort).map((d) => d.node)];
}

function axis(from, to, x, y, width) {
  const most = Math.max(2, Math.floor((width - LABEL_PX) / 90));
  const every = TICKS_S.find((step) => (to - from) / step <= most) || TICKS_S[TICKS_S.length - 1];
  const nodes = [];
  for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
    const day = every >= 43200;
    const text = day ? clock(at, true).slice(5, 10) : clock(at).slice(0, every < 60 ? 8 : 5);
    const place = Math.min(x(at), width - text.length * LETTER_PX / 2);
    nodes.push(svg("line", { x1: x(at).toFixed(1), x2: x(at).toFixed(1), y1: 0, y2: y, class: "tick" }),
      svg("text", { x: place.toFixed(1), y: y + 15, class: "tick-text" }, text));
  }
  return nodes;
}

function by(ana) {
  return ana.holder ? ` by ${ana.holder}` : "";
}

function picture(group, records, now, range_s, width, colour) {
  const from = now - range_s;
  const x = (at) => LABEL_PX + Math.max(0, at - from) / range_s * (width - LABEL_PX);
  const height = group.ana_groups.length * (LANE_PX + GAP_PX);
  const parts = group.ana_groups.map((ana) => past(ana, records, now));
  const inside = records.filter((r) => r.anagrp_id !== null && Date.parse(r.began) / 1000 + r.took_s >= from);
  const failovers = inside.filter((r) => r.kind === "failover").length;
  const summary = `Who served each ANA group in the last ${RANGES.find(([s]) => s === range_s)[1]}: `
    + `${count(failovers, "failover")}, ${count(inside.length - failovers, "other change")}. `
    + group.ana_groups.map((ana) => `ANA group ${ana.id} is ${phase(ana.phase)}${by(ana)}`).join(", ")
    + ". The history below tells the same as a table.";
  return svg("svg", { role: "img", "aria-label": summary, width, height: height + AXIS_PX,
    viewBox: `0 0 ${width} ${height + AXIS_PX}` },
  axis(from, now, x, height, width),
  group.ana_groups.map((ana, row) => lane(ana, parts[row], x, MARK_PX + row * (LANE_PX + GAP_PX), width, colour)));
}

function legend(group, records, colour) {
  const ids = [...new Set([...group.gateways.map((g) => g.id),
    ...records.flatMap((r) => [gatewayOf(r.from), gatewayOf(r.to)])])].filter((id) => id !== null).sort();
  const entry = (kind, text) => el("li", {}, el("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
  return el("ul", { class: "legend" }, ids.map((id) => entry(colour(id), id)), entry("failing", "failover"),
    entry("moving", "planned move"), entry("nobody", "nobody"));
}

export function timeline(group, records, now, range_s, width, colour, choose) {
  return el("section", { class: "picture", "data-key": "timeline" },
    el("div", { class: "head" }, el("h3", {}, "Timeline"),
      el("div", { class: "ranges", role: "group", "aria-label": "Time shown" }, RANGES.map(([seconds, name]) =>
        el("button", { type: "button", "aria-pressed": `${seconds === range_s}`, onclick: () => choose(seconds) }, name)))),
    picture(group, records, now, range_s, width, colour), legend(group, records, colour));
}
