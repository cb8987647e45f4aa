// The start page: the most important facts, then all fields of INFO.

import { drawBars } from "./chart.js";
import { copy } from "./clipboard.js";
import { $, make, setNote, sleep } from "./dom.js";
import { isDaemonHere, isStreamBroken, run, sentence } from "./gateway.js";
import { connections, describe, headlines, isSpread, labelOf, spreadOf, warnings } from "./facts.js";
import { clock, duration, micro, number, plural, size } from "./words.js";

const LOOK_MS = 5000;
const LOOK_AWAY_MS = 1000;
const LEAST = 5; // the minimum of the chart's scale

const facts = new Map(); // "section.name" -> its element
let seen = 0; // the time of the last INFO
let last = null; // {info, at}, for the commands per second

/** Read INFO, and show it. */
export async function look() {
  try {
    const info = await run({ command: "INFO" });
    seen = Date.now();
    setNote("no-info");
    showHead(info);
    showTiles(info);
    showConnections(info);
    setNote("warning", warnings(info).join(" "));
    for (const [section, found] of Object.entries(info)) showSection(section, found);
    last = { info, at: performance.now() };
  } catch (error) {
    setNote("no-info", `${sentence(error)}${seen ? ` The figures are those of ${clock(seen)}.` : ""}`);
  }
}

function showHead({ store = {}, server = {}, process = {} }) {
  const parts = [plural(store.keys ?? 0, "key"), `revision ${number(store.revision ?? 0)}`];
  if (server.uptime_ms) parts.push(`up ${duration(server.uptime_ms)}`);
  if (process.memory_bytes) parts.push(size(process.memory_bytes));
  $("facts").textContent = parts.join("  ·  ");
}

function showTiles(info) {
  const seconds = last && (performance.now() - last.at) / 1000;
  for (const [name, text, note] of headlines(info, last?.info, seconds)) {
    setTile(name, text, note);
  }
}

function setTile(name, text, note) {
  const id = `tile.${name}`;
  if (!facts.has(id)) {
    const value = make("dd", "");
    facts.set(id, value);
    $("tiles").append(make("div", "", make("dt", "", name), value));
  }
  if (facts.get(id).textContent !== text) facts.get(id).textContent = text;
  facts.get(id).title = note;
}

/** Show how to connect to the daemon. Only once, so that a selection of text is preserved. */
function showConnections(info) {
  const root = new URL("..", import.meta.url).href.replace(/\/$/, "");
  const lines = connections(info, root);
  if ($("connect").childElementCount === lines.length) return;
  $("connect").replaceChildren(...lines.map(connectionRow));
}

function connectionRow(line) {
  const button = make("button", "plain", "Copy");
  button.type = "button";
  button.ariaLabel = `Copy ${line}`;
  button.addEventListener("click", () => copy(line, "The command"));
  return make("li", "", make("code", "", line), button);
}

function showSection(section, found) {
  for (const [name, value] of Object.entries(found)) {
    if (!isSpread(name)) setFact(section, name, describe(name, value));
  }
  const spread = spreadOf(found);
  if (spread.length) showSpread(section, spread);
}

function listOf(section) {
  const id = `info-${section}`;
  if (!$(id)) {
    const list = make("dl", "");
    list.id = id;
    $("sections").append(make("section", "", make("h3", "", section), list));
  }
  return $(id);
}

/** Set texts in place, so that a selection is preserved. */
function setFact(section, name, text) {
  const id = `${section}.${name}`;
  if (!facts.has(id)) {
    const value = make("dd", "");
    const term = make("dt", "", labelOf(section, name));
    term.title = id;
    facts.set(id, value);
    listOf(section).append(make("div", "", term, value));
  }
  if (facts.get(id).textContent !== text) facts.get(id).textContent = text;
}

/** Draw the histogram of request times. */
function showSpread(section, spread) {
  const id = `${section}.spread`;
  if (!facts.has(id)) {
    const svg = $("chart").cloneNode();
    svg.id = id;
    facts.set(id, svg);
    const axis = make("p", "axis", make("span", "", micro(spread[0].bound)), make("span", "", micro(spread.at(-1).bound)));
    listOf(section).before(svg, axis);
  }
  drawBars(facts.get(id), spread.map(({ count }) => count), LEAST);
  const said = spread.filter(({ count }) => count).map(({ bound, count }) => `${number(count)} below ${micro(bound)}`);
  facts.get(id).ariaLabel = `How long requests took: ${said.join(", ")}`;
}

/** Update every 5 s, and every second while the daemon is away. The feed notices first if the gateway is away. */
export async function keepLooking() {
  for (;;) {
    if (document.visibilityState === "visible" && !isStreamBroken()) await look();
    await sleep(isDaemonHere() ? LOOK_MS : LOOK_AWAY_MS);
  }
}
