// The open entry. Its title is shown at once, then its facts, then the value in parts.

import { brief, keyText, sizeOfJson, startOfJson } from "./bytes.js";
import { emit, on } from "./bus.js";
import { copy } from "./clipboard.js";
import { askToConfirm, say } from "./dialogs.js";
import { $, make, setNote } from "./dom.js";
import { clearKey, PART_BYTES, readBlob, readPart } from "./entries.js";
import { sentence, serverTime } from "./gateway.js";
import { go, showDetail } from "./router.js";
import * as value from "./value.js";
import { fileName, kindOf } from "./values.js";
import { date, duration, number, size } from "./words.js";

const URL_MS = 10_000;
const TITLE_CHARACTERS = 200;
const TOOLS = ["copy-value", "edit", "download", "history-open", "clear"];

let entry = null; // {id, state: "loading", "failed" or "ready", value, size, revision, expires}
let reading = new AbortController();
let isWriting = false; // the resulting change is not reported

export const openEntry = () => (entry?.state === "ready" ? entry : null);

/** Open a key: show its title at once, and its value when it arrives. */
export async function openKey(id) {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  const isSameKey = entry?.id === id && entry.state === "ready";
  if (isSameKey) showAgain();
  else showLoading(id);
  $("entry-key").focus({ preventScroll: true });
  try {
    const read = await readPart(id, 0, signal);
    if (signal.aborted) return;
    if (read === null) showMissing(id);
    else showEntry(read, isSameKey);
  } catch (error) {
    if (!signal.aborted) showFailure(error);
  }
}

export function leave() {
  reading.abort();
  entry = null;
  emit("open", null);
}

function showLoading(id) {
  entry = { id, state: "loading" };
  showTitle(id);
  for (const name of ["revision", "size", "expires", "content"]) $(`entry-${name}`).textContent = "–";
  setTools(false);
  $("value").replaceChildren(make("span", "loading", "Loading …"));
  $("value").ariaBusy = "true";
  $("value-more").hidden = true;
  setNote("value-note");
  setNote("entry-error");
  showDetail("entry");
  emit("open", id);
}

/** Keep showing the same entry until its present value arrives. */
function showAgain() {
  setTools(false);
  showDetail("entry");
}

/** Show the key as the title, shortened if it is very long. */
function showTitle(id) {
  const text = keyText(id);
  const isLong = text.length > TITLE_CHARACTERS;
  $("entry-key").textContent = isLong ? `${text.slice(0, TITLE_CHARACTERS)}…` : text;
  $("entry-key").classList.remove("whole");
  $("entry-key").tabIndex = -1;
  $("whole-key").hidden = !isLong;
  document.title = `${brief(id)} · kvd`;
}

function showWholeKey() {
  $("entry-key").textContent = keyText(entry.id);
  $("entry-key").classList.add("whole"); // it scrolls, so it must be focusable
  $("entry-key").tabIndex = 0;
  $("entry-key").focus();
  $("whole-key").hidden = true;
}

function setTools(isReady) {
  for (const id of TOOLS) $(id).disabled = !isReady;
  for (const radio of document.getElementsByName("show")) radio.disabled = !isReady;
}

function showEntry(read, isSameKey) {
  entry = { ...read, state: "ready" };
  setTools(true);
  setNote("entry-error");
  $("entry-retry").hidden = true;
  $("entry-revision").textContent = number(read.revision);
  $("entry-size").textContent = size(read.size);
  showExpiry();
  value.showFirst(entry, isSameKey);
  showDetail("entry");
  emit("open", read.id);
}

function showFailure(error) {
  if (entry.state === "ready") {
    setTools(true);
    say(sentence(error));
    return;
  }
  entry.state = "failed";
  $("value").replaceChildren();
  $("value").ariaBusy = "false";
  setNote("entry-error", `The value could not be read. ${sentence(error)}`);
  $("entry-retry").hidden = false;
}

function showMissing(id) {
  entry = { id, state: "missing" };
  $("missing-text").textContent = `There is no key ${brief(id)}.`;
  document.title = `${brief(id)} · kvd`;
  showDetail("missing");
  emit("open", null);
  $("missing-title").focus({ preventScroll: true });
}

/** Return the key of the view "No such key", or null. */
export const missingKey = () => (entry?.state === "missing" ? entry.id : null);

export function showExpiry() {
  if (entry?.state !== "ready") return;
  const ms = Math.ceil((entry.expires - serverTime()) / 1000) * 1000;
  $("entry-expires").textContent = !entry.expires ? "never" : ms > 0 ? `in ${duration(ms)}` : "now";
  $("entry-expires").title = entry.expires ? date(entry.expires) : "";
}

/** Show more of the value. Loads its next part if necessary, which must have the same revision. */
async function showMore() {
  const mine = entry;
  $("value-more").disabled = true;
  try {
    if (value.needsPart(mine) && !(await loadPart(mine))) return;
  } catch (error) {
    $("value-more").disabled = false;
    if (error.name !== "AbortError") say(sentence(error));
    return;
  }
  if (mine === entry) value.showMore(entry);
}

/** Load the next part of a value; return whether its revision matches. */
async function loadPart(mine) {
  const part = await readPart(mine.id, mine.value.length, reading.signal);
  if (mine !== entry) return false;
  if (part?.revision !== mine.revision) {
    await openKey(mine.id);
    return false;
  }
  mine.value = join(mine.value, part.value);
  return true;
}

function join(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

async function download() {
  const { id, value: part } = entry;
  const [type, ending] = kindOf(part, value.isWhole(entry));
  try {
    const blob = await readBlob(id);
    if (blob) saveFile(blob.slice(0, blob.size, type), fileName(keyText(id), ending));
    else showMissing(id);
  } catch (error) {
    say(sentence(error));
  }
}

function saveFile(blob, name) {
  const anchor = make("a", "");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), URL_MS);
}

async function copyValue() {
  const mine = entry;
  try {
    const bytes = value.isWhole(mine) ? mine.value : new Uint8Array(await (await readBlob(mine.id)).arrayBuffer());
    await copy(value.copyText(bytes), "The value");
  } catch (error) {
    say(sentence(error));
  }
}

/** Run a write of this page; the resulting change is not reported. */
export async function quietly(write) {
  isWriting = true;
  try {
    return await write();
  } finally {
    isWriting = false;
  }
}

async function clearEntry() {
  const { id, revision } = entry;
  if (!(await askToConfirm(`Clear ${brief(id)}?`, { yes: "Clear", no: "Keep", isDanger: true }))) return;
  try {
    await quietly(() => clearKey(id, revision));
    say(`${brief(id)} is cleared.`);
    const isOpen = entry?.id === id;
    if (isOpen) entry = null; // its change is not reported
    emit("clear", [id]);
    if (isOpen) go("#");
  } catch (error) {
    if (error.code !== "CONFLICT") return say(sentence(error, true));
    if (entry?.id !== id) return say(`${brief(id)} was changed meanwhile, and is not cleared.`);
    await openKey(id);
    if (entry?.state === "ready") say("It was changed meanwhile, and is not cleared: this is the present value.");
  }
}

/** Apply a change to the open entry. */
export function follow(change) {
  if (change.id !== entry?.id || isWriting) return;
  if (entry.state === "missing" && change.kind === "set") return openKey(change.id);
  if (entry.state !== "ready" || change.revision <= entry.revision) return;
  if (change.kind === "set") return showChange(change);
  say(`${brief(change.id)} ${change.kind === "clear" ? "was cleared" : "has expired"}.`);
  go("#");
}

function showChange({ id, revision, expires = null, value: said }) {
  showEntry({ id, revision, expires, size: sizeOfJson(said), value: startOfJson(said, PART_BYTES) }, true);
}

const retry = () => entry?.state === "failed" && openKey(entry.id);

/** Read the entry again after changes may have been missed, unless it is being edited. */
const onFollow = ({ isGap }) => isGap && !$("entry").hidden && entry && openKey(entry.id);

export function listen() {
  $("show-as").addEventListener("change", () => value.draw(entry));
  $("value-more").addEventListener("click", showMore);
  $("whole-key").addEventListener("click", showWholeKey);
  $("copy-key").addEventListener("click", () => copy(keyText(entry.id), "The key"));
  $("copy-value").addEventListener("click", copyValue);
  $("download").addEventListener("click", download);
  $("clear").addEventListener("click", clearEntry);
  $("entry-retry").addEventListener("click", retry);
  on("back", retry);
  on("follow", onFollow);
}

