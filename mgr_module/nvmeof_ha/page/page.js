// What is shown when: puts what the mgr tells into the document, and says what changed.

import { el, update } from "./dom.js";
import { failovers } from "./bars.js";
import { anaGroups, colours, gateways, health, history, tiles } from "./groups.js";
import { Live } from "./live.js";
import { RANGES, timeline } from "./timeline.js";
import { availability, phase } from "./words.js";

const main = document.getElementById("main");
const nav = document.getElementById("groups-nav");
const connection = document.getElementById("connection");
const connectionText = document.getElementById("connection-text");
const announcements = document.getElementById("announcements");
const NARROWEST_PX = 240;

let status = null;
let heardAt = 0;
let how = "waiting";
const histories = new Map();   // group -> its records
const ranges = new Map();      // group -> seconds shown in its timeline

const nameOf = (group) => `${group.pool}/${group.group}`;

function width() {
  const style = getComputedStyle(main);
  const card = main.querySelector("section.group");
  const inner = card ? parseFloat(getComputedStyle(card).paddingLeft) * 2 + 2 : 0;
  return Math.max(NARROWEST_PX, Math.floor(main.clientWidth - parseFloat(style.paddingLeft) * 2 - inner));
}

function section(group, number, wide) {
  const name = nameOf(group);
  const records = histories.get(name) || [];
  const colour = colours(group, records);
  const id = `group-${number}`;
  const range_s = ranges.get(name) || RANGES[1][0];
  return el("section", { class: "group", id, "aria-labelledby": `${id}-title`, tabindex: "-1", "data-key": name },
    el("h2", { id: `${id}-title` }, name, group.version ? el("small", {}, `map ${group.version}`) : null),
    group.problem ? el("p", { class: "note" }, `${group.looked_after ? "" : "Not looked after: "}${group.problem}`)
      : null,
    tiles(group, status.at, group.last_failover),
    anaGroups(group, colour),
    gateways(group, colour),
    group.ana_groups.length ? timeline(group, records, status.at, range_s, wide, colour, (seconds) => {
      ranges.set(name, seconds);
      show();
    }) : null,
    failovers(records, wide),
    records.length ? history(records, colour) : null);
}

function show() {
  if (!status) {
    return;
  }
  const wide = width();
  const groups = status.groups.map((group, number) => section(group, number, wide));
  const empty = el("p", { class: "note", "data-key": "empty" }, "There is no gateway group. ",
    el("code", {}, "ceph nvmeof-ha create ID POOL GROUP"), " makes one.");
  update(main, [...health(status.health), ...(groups.length ? groups : [empty])]);
  nav.hidden = status.groups.length < 2;
  update(nav, [el("ul", {}, status.groups.map((group, number) => el("li", {}, el("a", { href: `#group-${number}` },
    nameOf(group)))))]);
}

// What a person who cannot see the page has to be told: only what became different.
function differences(before, after) {
  const found = [];
  for (const group of after.groups) {
    const old = before.groups.find((other) => nameOf(other) === nameOf(group));
    for (const gateway of group.gateways) {
      const was = old && old.gateways.find((other) => other.id === gateway.id);
      if (!was || availability(was) !== availability(gateway)) {
        found.push(`${nameOf(group)}: gateway ${gateway.id} is ${availability(gateway)}`);
      }
    }
    for (const ana of group.ana_groups) {
      const was = old && old.ana_groups.find((other) => other.id === ana.id);
      if (!was || was.phase !== ana.phase || was.holder !== ana.holder) {
        const by = ana.holder ? ` by ${ana.holder}` : "";
        found.push(`${nameOf(group)}: ANA group ${ana.id} is ${phase(ana.phase)}${by}`);
      }
    }
  }
  return found;
}

function heard(event, value) {
  if (event === "history") {
    histories.clear();
    for (const { pool, group, records } of value.groups) {
      histories.set(nameOf({ pool, group }), records);
    }
  } else {
    const news = status ? differences(status, value) : [];
    if (news.length) {
      announcements.textContent = `${news.join(". ")}.`;
    }
    status = value;
    heardAt = performance.now();
  }
  show();
}

function showConnection() {
  const age_s = Math.round((performance.now() - heardAt) / 1000);
  const lost = status ? `Connection lost; what is shown is ${age_s} s old` : "No answer yet";
  const texts = { waiting: "Connecting …", live: `Live from mgr ${status ? status.mgr : ""}`,
    asking: "Asked every 5 s: too many listen to take another", lost: `${lost}. Trying again …` };
  connection.className = how;
  if (connectionText.textContent !== texts[how]) {
    connectionText.textContent = texts[how];
  }
}

function changed(now) {
  if (now !== how) {
    if (how !== "waiting" || now === "lost") {
      announcements.textContent = { live: "Live again.", lost: "Connection lost.", asking: "" }[now];
    }
    how = now;
    document.body.classList.toggle("stale", now === "lost");
  }
  showConnection();
}

new ResizeObserver(show).observe(document.documentElement);
setInterval(showConnection, 1000);
new Live((event, value) => {
  heard(event, value);
  showConnection();
}, changed).start();
