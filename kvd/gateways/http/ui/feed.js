// The feed of changes: each once and in order. If changes were missed, a line reports it.
//
// It reads all changes, because the list of keys and the open entry need them; the filter only affects the display.

import { idFromJson, keyText, parseKey } from "./bytes.js";
import { emit } from "./bus.js";
import { $, make, sleep } from "./dom.js";
import { ask, noteStream, Refusal, sentence } from "./gateway.js";
import { showRate, tally } from "./rate.js";
import { addressOf, go } from "./router.js";
import { eventParser } from "./sse.js";
import { glance } from "./values.js";
import { clock, number } from "./words.js";

const ROWS = 500;
const FLUSH_MS = 50; // so that many changes need one layout
const TURN_MS = 50;
const RETRY_MS = 500;
const RETRY_MS_MAX = 5000;
const SILENCE_MS = 40_000; // the gateway sends a heartbeat every 15 s
const GONE = ["COMPACTED", "HISTORY_CHANGED"];
const KINDS = ["set", "clear", "expired"]; // other kinds, of a newer daemon, are only shown

const keys = new WeakMap(); // button -> id
const feed = { prefix: "", since: null, history: null, waiting: [], count: 0, isPaused: false, isGap: false, reader: null };

/** Read changes endlessly. */
export async function follow() {
  for (let wait = RETRY_MS; ; wait = Math.min(wait * 2, RETRY_MS_MAX)) {
    feed.reader = new AbortController();
    try {
      await read(() => (wait = RETRY_MS / 2));
    } catch (error) {
      if (passGap(error)) continue;
      report(error);
    }
    noteStream("broken");
    await sleep(wait);
  }
}

/** If the changes are no longer stored, continue from the present; return whether that is the case. */
function passGap(error) {
  if (error.status !== 410 || feed.since === null) return false;
  addGap(`${sentence(error)} The list continues with new changes.`);
  feed.since = feed.history = null;
  feed.isGap = true;
  return true;
}

/** Report an error once, even if retries fail with it again. */
function report(error) {
  if (error instanceof Refusal && error.status < 500 && error.message !== feed.reported) addGap(sentence(error));
  feed.reported = error.message;
}

async function read(onOpen) {
  const { signal } = feed.reader;
  const from = feed.since === null ? "" : `&since=${feed.since}&history=${feed.history}`;
  const response = await ask(`v1/watch?prefix=${from}`, { signal });
  begin(response.headers);
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = eventParser();
  let turn = performance.now();
  for (;;) {
    const silence = setTimeout(() => feed.reader.abort(), SILENCE_MS); // the connection may be lost without an error
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    for (const event of parse(value)) {
      take(event);
      if (performance.now() - turn < TURN_MS) continue;
      await sleep(0); // keeps the page responsive while many changes arrive
      turn = performance.now();
    }
  }
}

function begin(headers) {
  const isNew = feed.since === null;
  feed.history = headers.get("Kvd-History");
  feed.since ??= Number(headers.get("Kvd-Revision"));
  feed.reported = null;
  noteStream("open");
  if (isNew) emit("follow", { revision: feed.since, isGap: feed.isGap });
  feed.isGap = false;
  emit("back");
}

function take({ event, id, data }) {
  if (data === undefined) {
    feed.since = Math.max(feed.since, Number(id)); // a heartbeat: there is no change up to this revision
    return;
  }
  const said = JSON.parse(data);
  if (event === "error") throw new Refusal(GONE.includes(said.code) ? 410 : 503, said);
  if (said.revision <= feed.since) return; // a duplicate
  feed.since = said.revision;
  deliver({ ...said, id: idFromJson(said.key) });
}

function deliver(change) {
  if (change.id.startsWith(feed.prefix)) {
    tally(change.time);
    add({ ...change, value: undefined, text: glance(change.value) });
  }
  if (KINDS.includes(change.kind)) emit("change", change);
}

function add(item) {
  feed.waiting.push(item);
  if (feed.waiting.length > ROWS) feed.waiting.shift();
  feed.count++;
  flushSoon();
}

const addGap = (text) => add({ gap: text });

let timer = null;
function flushSoon() {
  if (timer === null) timer = setTimeout(flush, FLUSH_MS);
}

/** Show the waiting changes, unless paused. Rows that would be removed at once are not created. */
function flush() {
  timer = null;
  const { waiting, count, isPaused } = feed;
  $("pause").textContent = isPaused ? (count ? `Resume, ${number(count)} waiting` : "Resume") : "Pause";
  if (isPaused || !count) return;
  feed.waiting = [];
  feed.count = 0;
  const left = count - waiting.length;
  if (left > 0) waiting[0] = { gap: `${number(left + 1)} older changes are not shown.` };
  $("feed").prepend(...waiting.reverse().map(changeRow));
  while ($("feed").childElementCount > ROWS) $("feed").lastElementChild.remove();
  $("no-changes").hidden = true;
  if (!$("feed").querySelector("[tabindex='0']")) $("feed").querySelector("button")?.setAttribute("tabindex", "0");
  showRate();
}

function changeRow(change) {
  if (change.gap) return make("li", "gap", change.gap);
  const button = make(
    "button",
    `change ${change.kind}`,
    make("span", "key", keyText(change.id)),
    make("time", "", clock(change.time)),
    make("span", "kind", change.kind),
    make("span", "text", change.text),
    make("span", "revision", number(change.revision)),
  );
  button.tabIndex = -1;
  keys.set(button, change.id);
  return make("li", "", button);
}

/** Move the focus with the arrow keys. One row of the list is reachable with Tab. */
function onKey(event) {
  const row = event.target.closest("li");
  const to = {
    ArrowDown: row?.nextElementSibling,
    ArrowUp: row?.previousElementSibling,
    Home: $("feed").firstElementChild,
    End: $("feed").lastElementChild,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  to?.querySelector("button")?.focus();
}

function onFocus(event) {
  $("feed").querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  event.target.tabIndex = 0;
}

function togglePause() {
  feed.isPaused = !feed.isPaused;
  $("pause").ariaPressed = String(feed.isPaused);
  flush();
}

function changeFilter() {
  const prefix = parseKey($("prefix").value);
  if (prefix === feed.prefix) return;
  Object.assign(feed, { prefix, waiting: [], count: 0 });
  $("feed").replaceChildren();
  $("no-changes").hidden = false;
  flush();
}

export function listen() {
  $("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    changeFilter();
  });
  $("prefix").addEventListener("change", changeFilter);
  $("pause").addEventListener("click", togglePause);
  $("feed").addEventListener("click", (event) => {
    const id = keys.get(event.target.closest("button"));
    if (id !== undefined) go(addressOf(id));
  });
  $("feed").addEventListener("keydown", onKey);
  $("feed").addEventListener("focusin", onFocus);
}
