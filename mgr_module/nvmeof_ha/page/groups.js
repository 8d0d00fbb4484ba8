// The tables: who serves what, and which gateways there are.

import { el } from "./dom.js";
import { availability, clock, count, duration, gatewayOf, phase } from "./words.js";

const COLOURS = 8;
const MOST_ROWS = 50;

// Which colour a gateway has, the same in all pictures of its group.
export function colours(group, records) {
  const ids = new Set(group.gateways.map((gateway) => gateway.id));
  for (const record of records) {
    for (const instance of [record.from, record.to]) {
      if (instance !== null) {
        ids.add(gatewayOf(instance));
      }
    }
  }
  const sorted = [...ids].sort();
  return (id) => (id === null ? "nobody" : `g${sorted.indexOf(id) % COLOURS}`);
}

export function chip(id, colour) {
  return id === null ? el("span", { class: "none" }, "nobody")
    : el("span", { class: "chip" }, el("span", { class: `swatch ${colour(id)}`, "aria-hidden": "true" }), id);
}

// Explicit roles: on a narrow screen rows are laid out as cards, which would take the table away from screen readers.
export function table(caption, heads, rows) {
  return el("table", { role: "table" },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      heads.map((head) => el("th", { role: "columnheader", scope: "col" }, head)))),
    el("tbody", { role: "rowgroup" }, rows.map(({ key, cells }) => el("tr", { role: "row", "data-key": key },
      cells.map((cell, at) => (at === 0
        ? el("th", { role: "rowheader", scope: "row", "data-label": heads[at] }, cell)
        : el("td", { role: "cell", "data-label": heads[at], class: blank(cell) && "blank" },
          blank(cell) ? "" : cell)))))));
}

function blank(cell) {
  return cell === null || cell === "" || (Array.isArray(cell) && cell.length === 0);
}

function mark(kind, text) {
  const signs = { good: "●", moving: "◐", bad: "▲", idle: "○" };
  return el("span", { class: `mark ${kind}` }, el("span", { "aria-hidden": "true" }, `${signs[kind]}\u00a0`), text);
}

function phaseMark(group) {
  const kind = { ACTIVE: "good", UNSERVED: group.namespaces ? "bad" : "idle", FENCING: "bad" }[group.phase] || "moving";
  return mark(kind, phase(group.phase));
}

function gatewayMark(gateway) {
  const kinds = { AVAILABLE: "good", SUSPECT: "moving", UNAVAILABLE: "bad", CREATED: "idle" };
  const kind = kinds[gateway.availability] || "moving";
  return mark(kind === "good" && (!gateway.enabled || gateway.leaving || gateway.deleting) ? "idle" : kind,
    availability(gateway));
}

export function anaGroups(group, colour) {
  const rows = group.ana_groups.map((ana) => ({
    key: `ana${ana.id}`,
    cells: [`${ana.id}`, phaseMark(ana), chip(ana.holder, colour), chip(ana.owner, colour), `${ana.namespaces}`,
      ana.phase_for_s === null ? "" : `${ana.phase_for_longer ? "> " : ""}${duration(ana.phase_for_s)}`, ana.why],
  }));
  return table("ANA groups: who serves which namespaces",
    ["ANA group", "State", "Served by", "Owner", "Namespaces", "For", "Why"], rows);
}

export function gateways(group, colour) {
  const located = group.gateways.some((gateway) => gateway.location);
  const rows = group.gateways.map((gateway) => ({
    key: `gw${gateway.id}`,
    cells: [chip(gateway.id, colour), gatewayMark(gateway),
      gateway.serves.join(", ") || el("span", { class: "none" }, "nothing"),
      `${gateway.anagrp_id}`, `${gateway.listeners}`, `${gateway.hosts}`, ...(located ? [gateway.location] : []),
      gateway.beacon_age_s === null ? "" : `${duration(gateway.beacon_age_s)} ago`,
      gateway.instance === null ? "" : el("code", {}, gateway.instance),
      gateway.problems.length > 1 ? el("ul", {}, gateway.problems.map((text) => el("li", {}, text)))
        : gateway.problems],
  }));
  return table("Gateways",
    ["Gateway", "State", "Serves ANA group", "Owns", "Listeners", "Host connections", ...(located ? ["Location"] : []),
      "Last beacon", "Instance", "Problems"], rows);
}

export function tiles(group, at, last) {
  const well = group.gateways.filter((g) => g.availability === "AVAILABLE").length;
  const used = group.ana_groups.filter((g) => g.namespaces || g.optimized);
  const served = used.filter((g) => g.optimized).length;
  const away = used.filter((g) => g.optimized && g.holder !== g.owner).length;
  const namespaces = group.ana_groups.reduce((sum, g) => sum + g.namespaces, 0);
  const tile = (name, value, note, kind) => el("div", { class: `tile ${kind}` }, el("dt", {}, name),
    el("dd", {}, el("strong", {}, value), " ", el("span", {}, note)));
  return el("dl", { class: "tiles" },
    tile("Gateways", `${well} of ${group.gateways.length}`, "available",
      well < group.gateways.length ? "attention" : "well"),
    tile("ANA groups", `${served} of ${used.length}`, away ? `served, ${away} not by its owner` : "served",
      served < used.length ? "trouble" : away ? "attention" : "well"),
    tile("Namespaces", `${namespaces}`, `in ${count(used.length, "ANA group")}`, "well"),
    last ? tile("Last failover", duration(last.took_s),
      `${duration(Math.max(0, at - Date.parse(last.began) / 1000))} ago`, "well")
      : tile("Last failover", "none", "recorded", "well"));
}

export function history(records, colour) {
  const newest = records.slice(-MOST_ROWS).reverse();
  const rows = newest.map((record) => ({
    key: `record${record.number}`,
    cells: [clock(Date.parse(record.began) / 1000, true),
      record.kind + (record.outcome === "done" ? "" : ` (${record.outcome})`),
      record.anagrp_id === null ? "" : `${record.anagrp_id}`,
      record.from === null ? "" : chip(gatewayOf(record.from), colour),
      record.to === null ? "" : chip(gatewayOf(record.to), colour), duration(record.took_s), record.cause],
  }));
  return el("details", { "data-key": "history" },
    el("summary", {}, `History as a table: ${newest.length < records.length ? `the last ${newest.length} of ` : ""}`
      + count(records.length, "record")),
    table("What happened, newest first", ["Began (UTC)", "What", "ANA group", "From", "To", "Took", "Cause"], rows));
}

export function health(checks) {
  if (!checks.length) {
    return [];
  }
  return [el("section", { class: "health", "aria-labelledby": "health-title", "data-key": "health" },
    el("h2", { id: "health-title" }, "Health"),
    el("ul", {}, checks.map((check) => el("li", { class: check.severity, "data-key": check.code },
      mark(check.severity === "error" ? "bad" : "moving",
        `${check.severity === "error" ? "Error" : "Warning"}: ${check.summary}`),
      el("ul", {}, check.detail.map((text) => el("li", {}, text)))))))];
}
