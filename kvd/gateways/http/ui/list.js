// The list of keys found by a search, updated by changes.
//
// It is complete up to the key `next` (null: to the end). A search for keys that contain a text reads all keys in
// pages. It pauses after a number of keys found or read, shows its progress, and can be stopped.

import { brief, sizeOfJson, parseKey } from "./bytes.js";
import { on } from "./bus.js";
import { $ } from "./dom.js";
import { countKeys, listKeys } from "./entries.js";
import { run, sentence } from "./gateway.js";
import { clearRows, factsOf, hasRow, makeKeyRow, removeRow, rowOf, showFacts } from "./rows.js";
import { matcher, placeOf } from "./search.js";
import { number, plural } from "./words.js";

const PAGE_KEYS = 100;
const SEARCH_PAGE_KEYS = 1000; // per request of a search
const SEARCHED_KEYS_MAX = 200_000; // the search pauses after this many
const RECENT_MAX = 5000;
const COUNT_MS = 1000; // COUNT reads all keys with a prefix, and other clients wait meanwhile
const COUNT_MANY_MS = 5000;
const MANY_KEYS = 10_000;
const SHOW_MS = 50;

const recent = []; // the last changes, which may be newer than a page
let found = null;
let since = 0; // the feed's first revision: an older page lacks changes
let loading = new AbortController();

/** Find the keys that begin with a text, or contain it. */
export async function find(text, isContained) {
  narrow(text, isContained);
  await load();
  if (found?.revision !== null && found?.revision < since) await load(true);
  await count();
}

/** Show at once only the listed keys that match the text, so that no other can be clicked. */
export function narrow(text, contains) {
  loading.abort();
  const isContained = contains && text !== "";
  const accepts = matcher(text, isContained);
  const ids = (found?.ids ?? []).filter(accepts);
  for (const id of found?.ids ?? []) if (!accepts(id)) removeRow(id);
  found = { text, isContained, accepts, ids, next: null, wanted: PAGE_KEYS, searched: 0, state: "loading", revision: null };
  showState();
}

/** Repeat a failed search. */
export function retry() {
  if (found?.state === "failed") find(found.text, found.isContained);
}

/** Repeat the search if the list is older than the feed, or if the feed has missed changes. */
function onFollow({ revision, isGap }) {
  since = revision;
  const isOld = found?.state === "ready" && (isGap || found.revision < since);
  if (isOld || found?.state === "failed") find(found.text, found.isContained);
}

/** Remove the list: another view replaces it. */
export function leave() {
  loading.abort();
  found = null;
  clearRows();
}

export async function more() {
  if (!found || found.next === null || found.state === "loading") return;
  found.wanted += PAGE_KEYS;
  await load();
}

/** Stop a search, and keep the keys found. */
export function stop() {
  loading.abort();
  if (found?.state === "loading") setState(found.revision === null ? "failed" : "ready", found.revision === null ? "The search was stopped." : "");
}

export const isSearching = () => found?.isContained ?? false;

/** Return the ids of the keys in the list, in order. */
export const listedIds = () => found?.ids ?? [];
export const listedPrefix = () => (found && !found.isContained ? parseKey(found.text) : "");

async function load(isFromStart = false) {
  if (isFromStart) found.revision = null;
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const mine = found;
  setState("loading");
  try {
    await (found.isContained ? search(signal) : readPage(signal));
    if (mine === found && !signal.aborted) setState("ready");
  } catch (error) {
    if (mine === found && !signal.aborted) setState("failed", sentence(error));
  }
}

async function readPage(signal) {
  const after = found.revision === null ? null : found.next;
  addPage(await listKeys(parseKey(found.text), after, PAGE_KEYS, signal), signal);
}

async function search(signal) {
  const limit = found.searched + SEARCHED_KEYS_MAX;
  found.total ??= await run({ command: "COUNT" }, signal);
  while (found.ids.length < found.wanted && found.searched < limit) {
    const after = found.revision === null ? null : found.next;
    const page = await listKeys("", after, SEARCH_PAGE_KEYS, signal);
    found.searched += page.items.length;
    addPage({ ...page, items: page.items.filter(({ id }) => found.accepts(id)) }, signal);
    found.wanted = Math.max(found.wanted, found.ids.length);
    if (found.next === null) return;
  }
}

function addPage(page, signal) {
  signal.throwIfAborted();
  if (found.revision === null) keepOnly(page);
  found.revision = page.revision;
  found.next = page.next;
  for (const item of page.items) insert(item);
  for (const change of recent) if (change.revision > page.revision) follow(change);
  showState();
}

/** Remove the rows of the previous search that are not in the first page. */
function keepOnly(page) {
  const ids = new Set(page.items.map(({ id }) => id));
  for (const id of [...found.ids]) if (!ids.has(id)) remove(id);
}

function insert(item) {
  const { id, ...facts } = item;
  if (hasRow(id)) {
    showFacts(id, facts);
    return;
  }
  const place = placeOf(found.ids, id);
  $("keys").insertBefore(makeKeyRow("option", item), rowOf(found.ids[place]) ?? null);
  found.ids.splice(place, 0, id);
}

function remove(id) {
  removeRow(id);
  if (found.ids[placeOf(found.ids, id)] === id) found.ids.splice(placeOf(found.ids, id), 1);
}

/** Apply a change to the list. The list grows on request, not with each new key. */
function follow({ id, kind, revision, size, expires = null }) {
  if (!found.accepts(id) || factsOf(id)?.revision >= revision) return;
  if (kind !== "set") remove(id);
  else if (found.next === null || id <= found.next) insert({ id, size, revision, expires });
  while (found.state !== "loading" && found.ids.length > found.wanted) {
    remove(found.ids.at(-1));
    found.next = found.ids.at(-1);
  }
}

function onChange({ id, kind, revision, value, expires }) {
  const change = { id, kind, revision, expires, size: value === undefined ? undefined : sizeOfJson(value) };
  recent.push(change);
  if (recent.length > RECENT_MAX) recent.shift();
  if (!found || found.revision === null) return; // the page that is being read will use `recent`
  const before = found.ids.length;
  follow(change);
  if (found.ids.length === before && found.next === null) return;
  countSoon();
  showSoon();
}

let showing = null;
/** Update the state once for many changes. */
function showSoon() {
  if (showing === null) showing = setTimeout(showNow, SHOW_MS);
}

function showNow() {
  showing = null;
  if (found) showState();
}

/** Remove keys that this page has cleared; their changes arrive later. */
function onClear(ids) {
  if (!found) return;
  for (const id of ids) if (hasRow(id)) remove(id);
  countSoon();
  showState();
}

let counting = null;
function countSoon() {
  counting ??= setTimeout(count, found.total > MANY_KEYS ? COUNT_MANY_MS : COUNT_MS);
}

async function count() {
  clearTimeout(counting);
  counting = null;
  const mine = found;
  if (!mine || mine.isContained) return;
  const total = await countKeys(parseKey(mine.text)).catch(() => undefined);
  if (total === undefined || mine !== found) return;
  found.total = total;
  showState();
}

function setState(state, message = "") {
  Object.assign(found, { state, message });
  showState();
}

function showState() {
  const { state, next, ids, isContained, text, message } = found;
  const isLoading = state === "loading";
  const isMore = next !== null && !isLoading;
  $("keys").ariaBusy = String(isLoading);
  $("count").textContent = countText();
  $("progress").hidden = !(isLoading && isContained);
  if (found.total) $("progress").firstElementChild.value = Math.min(1, found.searched / found.total);
  $("more").hidden = !isMore;
  $("more").textContent = isContained ? "Continue search" : "More keys";
  $("list-error").hidden = !message;
  $("list-error-text").textContent = message ?? "";
  $("again").hidden = state !== "failed";
  $("no-keys").hidden = ids.length > 0 || isMore || state !== "ready";
  $("no-keys").textContent = noKeys(text, isContained);
}

function noKeys(text, isContained) {
  if (text === "") return "There are no keys yet.";
  return `No key ${isContained ? "contains" : "begins with"} ${brief(parseKey(text))}`;
}

function countText() {
  const { state, next, ids, total, searched, isContained, revision } = found;
  if (isContained) {
    const progress = next === null && state === "ready" ? "" : `, ${number(searched)} of ${number(total ?? 0)} searched`;
    return `${plural(ids.length, "key")} found${progress}`;
  }
  if (revision === null) return state === "loading" ? "Loading keys …" : "";
  if (next === null) return plural(ids.length, "key");
  return total === undefined ? "" : `${plural(total, "key")}, the first ${number(ids.length)} below`;
}

on("change", onChange);
on("clear", onClear);
on("save", (id) => onChange({ id, kind: "set", revision: 0 }));
on("follow", onFollow);
on("back", retry);
