// The page of kvd's HTTP gateway: keys, one entry, changes as they come, and what INFO says.
//
// Keys and values are anybody's bytes: they come into the page as text (textContent, append), never as markup.
// A key is held as its `id`: a string with one character for each byte, which sorts as the bytes do.

const ROOT = new URL("..", import.meta.url); // this file is ui/ui.js, whatever a proxy puts before it
const PAGE_KEYS = 100;
const FEED_ROWS = 500;
const SHOWN_BYTES = 256 * 1024; // of a value; the rest is for Download
const SHOWN_HEX_BYTES = 32 * 1024;
const EDITED_BYTES = 1024 * 1024; // beyond it a value is replaced by a file
const RETRY_MS = 500;
const RETRY_MS_MAX = 5000;
const SILENCE_MS = 40_000; // the gateway gives a sign of life each 15 s
const LOOK_MS = 5000;
const LOOK_AWAY_MS = 1000;
const TOKEN = "kvd-token";

const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// Bytes

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SEQUENCE = /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^]/g;
// Controls, and what turns the direction of a line: unseen, they would let one key look like another.
const UNSEEN = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/u;

const bytesOf = (id) => Uint8Array.from(id, (character) => character.charCodeAt(0));
const hexOf = (byte) => byte.toString(16).padStart(2, "0");
const escaped = (id) => id.replace(/[^]/g, (byte) => `\\x${hexOf(byte.charCodeAt(0))}`);
const percent = (id) => id.replace(/[^\w.~-]/g, (byte) => `%${hexOf(byte.charCodeAt(0)).toUpperCase()}`);
const unpercent = (text) => text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));

function idOf(bytes) {
  let id = "";
  for (let at = 0; at < bytes.length; at += 8192) id += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return id;
}

/** The text that bytes are, or null when they are not UTF-8. */
function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** The bytes that the API's JSON says: a string, or an object with base64. */
const fromJson = (said) => (typeof said === "string" ? encoder.encode(said) : bytesOf(atob(said.base64)));
const toJson = (bytes) => textOf(bytes) ?? { base64: btoa(idOf(bytes)) };

/** A key for the eye: what is not UTF-8, or cannot be seen, as \xNN. */
function shown(id) {
  return id.replace(SEQUENCE, (part) => {
    if (part === "\\") return "\\\\";
    const text = textOf(bytesOf(part));
    return text === null || UNSEEN.test(text) ? escaped(part) : text;
  });
}

/** The key that somebody typed: the other way round of `shown`. */
function typed(text) {
  const unescape = (_, hex) => (hex ? String.fromCharCode(parseInt(hex, 16)) : "\\");
  return idOf(encoder.encode(text)).replace(/\\\\|\\x([0-9a-f]{2})/gi, unescape);
}

// Words for numbers

const number = (value) => value.toLocaleString("en");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at++) bytes /= 1024;
  if (at === 0) return plural(bytes, "byte");
  return `${bytes.toFixed(bytes < 10 ? 1 : 0)} ${units[at]}`;
}

function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 1) return `${ms} ms`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}


function micro(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${(us / 1000).toFixed(1)} ms` : duration(us / 1000);
}

// The gateway

class Refusal extends Error {
  constructor(status, { code, message, details }) {
    super(message);
    Object.assign(this, { status, code, details: details ?? {} });
  }
}

const AWAY = ["UNREACHABLE", "NOT_LET_IN", "NO_REPLY", "OUTCOME_UNKNOWN", "SHUTTING_DOWN"];
const link = { stream: "waiting", daemon: true };
let clockAhead = 0; // how far the gateway's clock is before ours: expiries are by the daemon's

const serverTime = () => Date.now() + clockAhead;

function showStatus() {
  const state = link.daemon ? link.stream : "away";
  const text = { waiting: "connecting", open: "connected", broken: "reconnecting", away: "daemon away" }[state];
  if ($("status").textContent === text) return;
  $("status").textContent = text;
  $("status").dataset.state = state;
}

/** What to tell a person of an error; of a write without an answer nobody knows. */
function sentence(error, isWrite = false) {
  if (!(error instanceof Refusal)) {
    return `The gateway does not answer.${isWrite ? " Whether this was done is not known: look first." : ""}`;
  }
  const message = error.message.replace(/^./, (first) => first.toUpperCase());
  return /[.!?]$/.test(message) ? message : `${message}.`;
}

/** Ask the gateway; 401 asks for a token and tries again. Throws a Refusal, or what fetch throws. */
async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(new URL(path, ROOT), { cache: "no-store", ...options, headers });
    noteClock(response);
    const error = response.ok ? null : await refusal(response);
    link.daemon = !AWAY.includes(error?.code);
    showStatus();
    if (!error) return response;
    if (error.status !== 401) throw error;
    await askToken(token);
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => ({ code: "", message: `The gateway answers ${response.status}` }));
  return new Refusal(response.status, body);
}

/** A Date header has whole seconds: less than two are no difference. */
function noteClock(response) {
  const ahead = Date.parse(response.headers.get("Date")) - Date.now();
  clockAhead = Math.abs(ahead) < 2000 || Number.isNaN(ahead) ? 0 : ahead;
}

async function run(command) {
  const response = await ask("v1/commands", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(command),
  });
  return (await response.json()).result;
}

// fetch() takes "." and ".." out of a path, also as %2E: these two keys go as commands.
const isDots = (id) => id === "." || id === "..";
const revisionOf = (response) => Number(response.headers.get("ETag").replace(/\D/g, ""));

/** The entry of a key, or null. */
async function readKey(id) {
  if (isDots(id)) {
    const found = await run({ command: "ENTRY", key: id, value: true });
    return found && { ...found, id, value: fromJson(found.value) };
  }
  try {
    const response = await ask(`kv/${percent(id)}`);
    const expires = response.headers.get("Kvd-Expires");
    const value = new Uint8Array(await response.arrayBuffer());
    return { id, value, revision: revisionOf(response), expires: expires && Number(expires) };
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Set a key whose revision is still `base`; 0: that does not exist. */
async function writeKey(id, value, base, ttl) {
  if (isDots(id)) {
    const ms = ttl && Math.ceil(ttl * 1000);
    return run({ command: "SET", key: id, value: toJson(value), ttl: ms, revision: base });
  }
  const headers = base ? { "If-Match": `"${base}"` } : { "If-None-Match": "*" };
  return ask(`kv/${percent(id)}${ttl ? `?ttl=${ttl}` : ""}`, { method: "PUT", headers, body: value });
}

async function clearKey(id, base) {
  if (isDots(id)) {
    return run({ command: "TRANSACTION", conditions: [[id, base]], commands: [{ command: "CLEAR", keys: [id] }] });
  }
  return ask(`kv/${percent(id)}`, { method: "DELETE", headers: { "If-Match": `"${base}"` } });
}

// Dialogs and messages

let toastTimer;
function say(text) {
  $("toast").textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").textContent = ""), 8000);
}

/** Show a text of an error beside its form; none takes it away. */
function fault(id, text = "") {
  $(id).textContent = text;
  $(id).hidden = !text;
}

let decide = null;
/** Ask a question; Esc means no. */
function confirmed(question, yes, no) {
  $("confirm-text").textContent = question;
  $("confirm-yes").textContent = yes;
  $("confirm-no").textContent = no;
  $("confirm").showModal();
  $("confirm-no").focus();
  return new Promise((done) => {
    decide = (answer) => {
      $("confirm").close(); // its event comes later, when the next question may be open already
      done(answer);
    };
  });
}

let asking = null;
/** Ask for a token, once for all who wait; `refused` is the one that was sent. */
function askToken(refused) {
  if (sessionStorage.getItem(TOKEN) !== refused) return null; // another request has asked already
  asking ??= new Promise((done) => {
    fault("login-error", refused === null ? "" : "This token is nobody's, or no longer.");
    $("token").value = "";
    $("login").showModal();
    $("login").querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      asking = null;
      $("login").close();
      done();
    };
  });
  return asking;
}

// Keys: a page of those that begin with what is typed, kept true by the changes that come

const rows = new Map(); // id -> its option
const keyOf = new WeakMap(); // option -> id
let found = { prefix: "", ids: [], next: null, wanted: PAGE_KEYS };
let searching = new AbortController();
let active = null; // the id that arrows have come to
let optionCount = 0;

async function listKeys(prefix, after) {
  const from = after === null ? "" : `&after=${percent(after)}`;
  const path = `kv?prefix=${percent(prefix)}${from}&limit=${PAGE_KEYS}`;
  const page = await (await ask(path, { signal: searching.signal })).json();
  const id = (key) => idOf(fromJson(key));
  return { revision: page.revision, ids: page.items.map(id), next: page.next === null ? null : id(page.next) };
}

async function find() {
  searching.abort();
  searching = new AbortController();
  const prefix = typed($("search").value);
  const page = await quietly(listKeys(prefix, null));
  if (!page) return;
  found = { prefix, ids: [], next: page.next, wanted: PAGE_KEYS };
  active = null;
  rows.clear();
  $("keys").replaceChildren();
  addPage(page);
  $("keys-scroll").scrollTop = 0;
  countKeys();
}

async function findMore() {
  if (found.next === null || $("more").disabled) return;
  $("more").disabled = true;
  const page = await quietly(listKeys(found.prefix, found.next));
  $("more").disabled = false;
  if (!page) return;
  found.next = page.next;
  found.wanted += PAGE_KEYS;
  addPage(page);
}

function addPage(page) {
  for (const id of page.ids) insertKey(id);
  for (const change of recent) if (change.revision > page.revision) touchKeys(change); // it was on its way
  showKeys();
}

/** The value of a promise; undefined when it was aborted, or failed, which is told. */
async function quietly(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name !== "AbortError") say(sentence(error));
  }
}

function insertKey(id) {
  if (rows.has(id)) return;
  const option = make("li", "key", shown(id));
  option.role = "option";
  option.id = `key-${optionCount++}`;
  option.ariaSelected = String(id === entry?.id);
  rows.set(id, option);
  keyOf.set(option, id);
  let low = found.ids.length;
  while (low > 0 && found.ids[low - 1] > id) low--; // most come in order, at the end
  $("keys").insertBefore(option, rows.get(found.ids[low]) ?? null);
  found.ids.splice(low, 0, id);
}

function removeKey(id) {
  rows.get(id)?.remove();
  rows.delete(id);
  found.ids = found.ids.filter((each) => each !== id);
  if (active === id) activate(null);
}

/** Let the list follow a change. It grows by asking for more, not by itself. */
function touchKeys(change) {
  if (!change.id.startsWith(found.prefix)) return;
  if (rows.has(change.id) === (change.kind === "set")) return;
  if (change.kind !== "set") removeKey(change.id);
  else if (found.next === null || change.id < found.next) insertKey(change.id);
  while (found.ids.length > found.wanted) {
    removeKey(found.ids.at(-1));
    found.next = found.ids.at(-1);
  }
  countSoon();
  showKeys();
}

let counting = null;
function countSoon() {
  counting ??= setTimeout(countKeys, 1000); // COUNT reads all keys of a prefix
}

async function countKeys() {
  clearTimeout(counting);
  counting = null;
  const { prefix } = found;
  const total = await quietly(run({ command: "COUNT", prefix: toJson(bytesOf(prefix)) }));
  if (total === undefined || prefix !== found.prefix) return;
  found.total = total;
  showKeys();
}

function showKeys() {
  const { ids, next, total, prefix } = found;
  const count = next === null ? ids.length : total;
  const some = next === null ? "" : `, the first ${number(ids.length)} below`;
  $("count").textContent = count === undefined ? "" : `${plural(count, "key")}${some}`;
  $("more").hidden = next === null;
  $("no-keys").hidden = ids.length > 0;
  $("no-keys").textContent = prefix ? `No key begins with ${shown(prefix)}` : "There is no key yet.";
}

function activate(id) {
  rows.get(active)?.classList.remove("active");
  active = id;
  const option = rows.get(id);
  option?.classList.add("active");
  option?.scrollIntoView({ block: "nearest" });
  if (option) $("search").setAttribute("aria-activedescendant", option.id);
  else $("search").removeAttribute("aria-activedescendant");
}

async function onSearchKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
  if (step) {
    event.preventDefault();
    const at = found.ids.indexOf(active);
    if (at + step >= found.ids.length) await findMore();
    const to = at < 0 && step < 0 ? 0 : Math.min(Math.max(at + step, 0), found.ids.length - 1);
    if (found.ids.length) activate(found.ids[to]);
  } else if (event.key === "Enter") {
    event.preventDefault();
    const id = active ?? (rows.has(typed($("search").value)) ? typed($("search").value) : found.ids[0]);
    if (id !== undefined) go(addressOf(id));
  }
}

// One entry

let entry = null; // {id, value, revision, expires}
let opening = 0;

async function openKey(id) {
  const mine = ++opening;
  const read = await quietly(readKey(id));
  if (mine !== opening || read === undefined) return;
  if (read === null) {
    say(`There is no key ${shown(id)}.`);
    go("#");
    return;
  }
  showEntry(read);
  $("entry-key").focus({ preventScroll: true });
}

/** Which ways to show a value there are, the best one first. */
function waysToShow(value) {
  const text = textOf(value);
  if (text === null) return ["hex"];
  if (value.length <= SHOWN_BYTES && /^\s*[[{]/.test(text) && isJson(text)) return ["json", "text", "hex"];
  return /[\x00-\x08\x0e-\x1f]/.test(text) ? ["hex", "text"] : ["text", "hex"];
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function setRadios(name, chosen, isOpen) {
  for (const radio of document.getElementsByName(name)) {
    radio.disabled = !isOpen(radio.value);
    radio.checked = radio.value === chosen;
  }
}

const chosenWay = () => document.querySelector("[name=show]:checked")?.value;

function showEntry(read) {
  const ways = waysToShow(read.value);
  const kept = entry?.id === read.id && ways.includes(chosenWay()) ? chosenWay() : ways[0];
  setRadios("show", kept, (way) => ways.includes(way));
  entry = read;
  $("entry-key").textContent = shown(read.id);
  $("entry-revision").textContent = number(read.revision);
  $("entry-size").textContent = size(read.value.length);
  $("entry-content").textContent = { json: "JSON", text: "text", hex: "binary" }[ways[0]];
  document.title = `${shown(read.id)} · kvd`;
  for (const [id, option] of rows) option.ariaSelected = String(id === read.id);
  showDetail("entry");
  showExpiry();
  showValue();
}

function showExpiry() {
  if (!entry) return;
  const seconds = Math.ceil((entry.expires - serverTime()) / 1000);
  $("entry-expires").textContent = !entry.expires ? "never" : seconds > 0 ? `in ${duration(seconds * 1000)}` : "now";
  $("entry-expires").title = entry.expires ? new Date(entry.expires).toLocaleString("en-GB") : "";
}

function showValue() {
  const way = chosenWay();
  const most = way === "hex" ? SHOWN_HEX_BYTES : SHOWN_BYTES;
  const part = entry.value.subarray(0, most);
  const isCut = part.length < entry.value.length;
  const text = () => new TextDecoder("utf-8", { ignoreBOM: true }).decode(part, { stream: isCut });
  const draw = { hex: () => dump(part), json: () => pretty(text()), text: () => [text()] }[way];
  $("value").dataset.way = way;
  $("value").replaceChildren(...draw());
  const cut = `The first ${size(most)} of ${size(entry.value.length)}. Download has all.`;
  fault("value-note", isCut ? cut : part.length ? "" : "Empty.");
}

/** Lines of offset, bytes and characters. */
function dump(bytes) {
  const width = matchMedia("(max-width: 719px)").matches ? 8 : 16;
  const parts = [];
  for (let at = 0; at < bytes.length; at += width) {
    const line = bytes.subarray(at, at + width);
    const hex = Array.from(line, hexOf).join(" ").padEnd(width * 3 - 1);
    const seen = idOf(line).replace(/[^ -~]/g, "·");
    const offset = at.toString(16).padStart(6, "0");
    parts.push(make("span", "offset", offset), `  ${hex}  `, make("span", "seen", seen), "\n");
  }
  return parts;
}

/** JSON on lines of its own. By its own tokens and not by JSON.stringify, which would round large numbers. */
function* pretty(text) {
  let depth = 0;
  let isFresh = false; // just after a bracket
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[[\]{},]|[^\s[\]{},":]+/g)) {
    const closes = "]}".includes(token);
    if (closes) depth--;
    const lead = isFresh !== closes ? line() : "";
    isFresh = "[{".includes(token);
    if (isFresh) depth++;
    if (colon) yield* [lead, make("span", "name", string), ": "];
    else if (token === ",") yield `,${line()}`;
    else yield* [lead, make("span", string ? "string" : "[]{}".includes(token) ? "" : "atom", token)];
  }
}

function downloadValue() {
  const anchor = make("a", "");
  anchor.href = URL.createObjectURL(new Blob([entry.value]));
  anchor.download = shown(entry.id).replace(/[^\w.-]+/g, "_");
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
}

async function clearEntry() {
  const { id, revision } = entry;
  if (!(await confirmed(`Clear ${shown(id)}?`, "Clear", "Keep"))) return;
  isWriting = true;
  try {
    await clearKey(id, revision);
    entry = null;
    removeKey(id);
    countSoon();
    say(`${shown(id)} is cleared.`);
    go("#");
  } catch (error) {
    if (error.code !== "CONFLICT") return say(sentence(error, true));
    await openKey(id);
    if (entry) say("It was changed meanwhile, and is not cleared: this is what is there now.");
  } finally {
    isWriting = false;
  }
}

/** Let what is open follow a change. A draft is not touched: saving it finds the change. */
function touchEntry(change) {
  if (change.id !== entry?.id || change.revision <= entry.revision || isWriting) return;
  if (draft) {
    $("editor-note").textContent = `Changed meanwhile, at revision ${number(change.revision)}.`;
  } else if (change.kind === "set") {
    showEntry({ ...change, value: fromJson(change.value) });
  } else {
    say(`${shown(change.id)} ${change.kind === "clear" ? "was cleared" : "has expired"}.`);
    go("#");
  }
}

// The editor

let draft = null; // {id (null: a new key), base, eol, form, before (the fields as they were), ttl, expires}
let isWriting = false; // what comes back of it as a change is no news

// How bytes stand in the textarea, and how they are read back. `write` gives null for what it cannot hold.
const FORMS = {
  text: { write: editableText, read: (text) => encoder.encode(text.replaceAll("\n", draft.eol)) },
  hex: {
    write: (bytes) => Array.from(bytes, hexOf).join(" ").replace(/(.{47}) /g, "$1\n"),
    read: (text) => {
      const digits = text.replace(/\s/g, "");
      if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error("Hex is pairs of the digits 0 to 9 and a to f.");
      return bytesOf(unpercent(digits.replace(/../g, "%$&")));
    },
  },
  base64: {
    write: (bytes) => btoa(idOf(bytes)).replace(/.{76}/g, "$&\n"),
    read: (text) => {
      try {
        return bytesOf(atob(text));
      } catch {
        throw new Error("This is not base64.");
      }
    },
  },
  file: {
    read: async () => {
      const [file] = $("editor-file").files;
      if (!file) throw new Error("Choose a file first.");
      return new Uint8Array(await file.arrayBuffer());
    },
  },
};

/** A textarea knows one kind of line end: a text with others among it is not for editing as text. */
function editableText(bytes) {
  const text = textOf(bytes);
  const eol = text?.includes("\r\n") ? "\r\n" : "\n";
  const lines = text?.replaceAll(eol, "\n");
  if (text === null || lines.includes("\r") || lines.replaceAll("\n", eol) !== text) return null;
  draft.eol = eol;
  return lines;
}

function startDraft(from) {
  const left = from.expires ? Math.max(1, Math.ceil((from.expires - serverTime()) / 1000)) : "";
  draft = { id: from.id, base: from.revision, eol: "\n", expires: from.expires, ttl: String(left) };
  $("editor-title").classList.toggle("key", from.id !== null);
  $("editor-title").textContent = from.id === null ? "New key" : shown(from.id);
  $("editor-key-field").hidden = from.id !== null;
  $("editor-key").value = from.id === null ? $("search").value : "";
  $("editor-file").value = "";
  $("editor-note").textContent = "";
  $("editor-ttl").value = draft.ttl;
  $("conflict").hidden = true;
  fault("editor-error");
  const isText = waysToShow(from.value)[0] !== "hex" && editableText(from.value) !== null;
  showForm(from.value.length > EDITED_BYTES ? "file" : isText ? "text" : "hex", from.value);
  showDetail("editor");
  draft.before = draftFields();
  (from.id === null ? $("editor-key") : $("editor-value")).focus();
  $("editor-value").setSelectionRange(0, 0);
}

/** Show bytes in a form; those that cannot hold them cannot be chosen. */
function showForm(form, bytes) {
  const isLarge = bytes.length > EDITED_BYTES;
  setRadios("form", form, (each) => each === "file" || (!isLarge && FORMS[each].write(bytes) !== null));
  draft.form = form;
  $("editor-value").value = form === "file" ? "" : FORMS[form].write(bytes);
  $("editor-value").dataset.form = form;
  $("editor-value").hidden = form === "file";
  $("editor-file-field").hidden = form !== "file";
}

async function changeForm(event) {
  const form = event.target.value;
  fault("editor-error");
  try {
    // To choose a file loses nothing yet: what was typed is taken up again when none is chosen.
    const isBack = draft.form === "file" && !$("editor-file").files.length;
    const bytes = isBack ? draft.typed : await draftValue();
    if (form === "file") draft.typed = bytes;
    showForm(bytes.length > EDITED_BYTES ? "file" : form, bytes);
  } catch (error) {
    fault("editor-error", error.message);
    event.target.checked = false;
    document.querySelector(`[name=form][value=${draft.form}]`).checked = true;
  }
}

const draftValue = async () => FORMS[draft.form].read($("editor-value").value);
const draftFields = () =>
  JSON.stringify(["editor-key", "editor-value", "editor-ttl", "editor-file"].map((id) => $(id).value));
const isDirty = () => draft !== null && draftFields() !== draft.before;

/** The seconds to live as typed; when nothing was typed, those that are left. Null: it stays. */
function draftTtl() {
  const text = $("editor-ttl").value.trim();
  if (text === "") return null;
  if (draft.expires && text === draft.ttl) return Math.max(0.001, (draft.expires - serverTime()) / 1000).toFixed(3);
  if (!/^\d{1,10}(\.\d{1,3})?$/.test(text) || Number(text) === 0) {
    throw new Error("It expires in so many seconds, such as 60 or 0.5; never, when nothing is here.");
  }
  return text;
}

async function save(event) {
  event?.preventDefault();
  if (isWriting) return;
  fault("editor-error");
  const id = draft.id ?? typed($("editor-key").value);
  try {
    if (id === "") throw new Error("A key has at least one byte.");
    const [value, ttl] = [await draftValue(), draftTtl()];
    isWriting = true;
    try {
      await writeKey(id, value, draft.base, ttl);
    } catch (error) {
      if (error.code === "CONFLICT") return await showConflict(id, value);
      throw new Error(sentence(error, true));
    }
    draft = null;
    say(`${shown(id)} is saved.`);
    if (id.startsWith(found.prefix)) touchKeys({ id, kind: "set" });
    go(addressOf(id));
  } catch (error) {
    fault("editor-error", error.message);
  } finally {
    isWriting = false;
  }
}

/** Show what is there now, and let the person choose. */
async function showConflict(id, mine) {
  const theirs = await readKey(id);
  const isSame = theirs && idOf(theirs.value) === idOf(mine);
  draft.theirs = theirs;
  const value = isSame ? ", with the same value as yours." : ":";
  const now = theirs && `is at revision ${number(theirs.revision)} now${value}`;
  $("conflict-title").textContent = draft.id === null ? "It exists already" : "Changed meanwhile";
  $("conflict-text").textContent = `${shown(id)} ${now || "was cleared meanwhile."}`;
  $("conflict-value").hidden = !theirs || isSame;
  $("conflict-value").replaceChildren(...(theirs ? preview(theirs.value) : []));
  $("conflict").hidden = false;
  $("overwrite").focus();
}

function preview(value) {
  const part = value.subarray(0, 2048);
  const more = part.length < value.length ? "\n…" : "";
  return waysToShow(value)[0] === "hex" ? [...dump(part), more] : [new TextDecoder().decode(part), more];
}

function overwrite() {
  draft.base = draft.theirs?.revision ?? 0;
  $("conflict").hidden = true;
  save();
}

function takeTheirs() {
  const id = draft.theirs?.id;
  draft = null;
  go(id === undefined ? "#" : addressOf(id));
}

async function cancelDraft() {
  if (isDirty() && !(await confirmed("Leave without saving?", "Leave", "Stay"))) return;
  const { id } = draft;
  draft = null;
  go(id === null ? "#" : addressOf(id));
}

// Changes

const RESTART = Symbol("the filter is another");
const recent = []; // the last changes, as many as the list has rows
const feed = { prefix: "", since: null, history: null, waiting: [], count: 0, isPaused: false, reader: null };

/** Follow changes for ever: each once, none skipped, or a line that says so. */
async function follow() {
  for (let wait = RETRY_MS; ; wait = Math.min(wait * 2, RETRY_MS_MAX)) {
    feed.reader = new AbortController();
    try {
      await readFeed(() => (wait = RETRY_MS / 2));
    } catch (error) {
      if (feed.reader.signal.reason === RESTART) continue;
      if (error.status === 410 && feed.since !== null) {
        gap(`${sentence(error)} What follows is from now on.`);
        feed.since = feed.history = null;
        find();
        continue;
      }
      if (error instanceof Refusal && error.status < 500 && error.message !== feed.told) gap(sentence(error));
      feed.told = error.message; // once, however often it is tried
    }
    link.stream = "broken";
    showStatus();
    await sleep(wait);
  }
}

async function readFeed(onOpen) {
  const { signal } = feed.reader;
  const from = feed.since === null ? "" : `&since=${feed.since}&history=${feed.history}`;
  const response = await ask(`v1/watch?prefix=${percent(feed.prefix)}${from}`, { signal });
  feed.history = response.headers.get("Kvd-History");
  feed.since ??= Number(response.headers.get("Kvd-Revision"));
  link.stream = "open";
  showStatus();
  feed.told = null;
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = eventParser();
  for (;;) {
    const silence = setTimeout(() => feed.reader.abort(), SILENCE_MS); // the network may die without a word
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    for (const { event, id, data } of parse(value)) {
      if (data === undefined) {
        feed.since = Math.max(feed.since, Number(id)); // a sign of life: nothing of ours has changed up to here
        continue;
      }
      const said = JSON.parse(data);
      if (event === "error") throw new Refusal(["COMPACTED", "HISTORY_CHANGED"].includes(said.code) ? 410 : 503, said);
      arrived(said);
    }
  }
}

/** Server-sent events: text in parts in, those that are whole out. */
function eventParser() {
  let parts = [];
  let event = {};
  return (part) => {
    parts.push(part);
    if (!part.includes("\n")) return []; // a large value comes in many parts: they are joined once
    const lines = parts.join("").split("\n");
    parts = [lines.pop()];
    const events = [];
    for (const line of lines) {
      const [, field, value] = line.match(/^([^:\r]*):? ?(.*?)\r?$/);
      if (line.trim() === "") {
        if (event.data !== undefined || event.id !== undefined) events.push(event);
        event = {};
      } else if (field) {
        event[field] = field === "data" && event.data !== undefined ? `${event.data}\n${value}` : value;
      }
    }
    return events;
  };
}

function arrived(said) {
  if (said.revision <= feed.since) return; // none twice
  feed.since = said.revision;
  const change = { ...said, id: idOf(fromJson(said.key)) };
  tally(change.time);
  keep(recent, { id: change.id, kind: change.kind, revision: change.revision });
  keep(feed.waiting, { ...change, value: undefined, text: glance(change.value) });
  feed.count++;
  touchKeys(change);
  touchEntry(change);
  flushSoon();
}

function keep(list, item) {
  list.push(item);
  if (list.length > FEED_ROWS) list.shift();
}

function gap(text) {
  keep(feed.waiting, { gap: text });
  feed.count++;
  flushSoon();
}

/** The beginning of a value, on one line. */
function glance(said) {
  if (said === undefined) return "";
  if (typeof said === "string") return said.slice(0, 160);
  return Array.from(fromJson({ base64: said.base64.slice(0, 64) }), hexOf).join(" ");
}

let flushing = null;
function flushSoon() {
  flushing ??= setTimeout(flush, 50); // many changes, one layout
}

/** Show what waits, unless paused. More than the list holds is never built: the rows would go at once. */
function flush() {
  flushing = null;
  const { waiting, count, isPaused } = feed;
  $("pause").textContent = isPaused ? (count ? `Resume, ${number(count)} waiting` : "Resume") : "Pause";
  if (isPaused || !count) return;
  feed.waiting = [];
  feed.count = 0;
  const left = count - waiting.length;
  if (left > 0) waiting[0] = { gap: `${number(left + 1)} older changes are not shown.` };
  $("feed").prepend(...waiting.reverse().map(changeRow));
  while ($("feed").childElementCount > FEED_ROWS) $("feed").lastElementChild.remove();
  $("no-changes").hidden = true;
  if (!$("feed").querySelector("[tabindex='0']")) $("feed").querySelector("button")?.setAttribute("tabindex", "0");
  showRate();
}

function changeRow(change) {
  if (change.gap) return make("li", "gap", change.gap);
  const button = make(
    "button",
    `change ${change.kind}`,
    make("span", "key", shown(change.id)),
    make("time", "", clock(change.time)),
    make("span", "kind", change.kind),
    make("span", "text", change.text),
    make("span", "revision", number(change.revision)),
  );
  button.tabIndex = -1;
  keyOf.set(button, change.id);
  return make("li", "", button);
}

/** One row of the list is in the order of Tab; arrows go on from there. */
function onFeedKey(event) {
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

function onFeedFocus(event) {
  $("feed").querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  event.target.tabIndex = 0;
}

function togglePause() {
  feed.isPaused = !feed.isPaused;
  $("pause").ariaPressed = String(feed.isPaused);
  flush();
}

function changeFilter() {
  const prefix = typed($("prefix").value);
  if (prefix === feed.prefix) return;
  Object.assign(feed, { prefix, since: null, history: null, waiting: [], count: 0 });
  $("feed").replaceChildren();
  $("no-changes").hidden = false;
  flush();
  feed.reader.abort(RESTART);
}

// Changes per second

const SECONDS = 60;
const seconds = new Map(); // a second of the daemon's clock -> how many changes

function tally(ms) {
  const second = Math.floor(ms / 1000);
  seconds.set(second, (seconds.get(second) ?? 0) + 1);
}

function drawBars(svg, counts, least) {
  const top = Math.max(least, ...counts);
  const { width, height } = svg.viewBox.baseVal;
  const step = width / counts.length;
  while (svg.childElementCount < counts.length) {
    svg.append(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
  }
  counts.forEach((count, at) => {
    const tall = count ? Math.max((count / top) * height, height / 20) : 0;
    const shape = { x: at * step, y: height - tall, width: step * 0.76, height: tall };
    for (const [name, value] of Object.entries(shape)) svg.children[at].setAttribute(name, value);
  });
}

function showRate() {
  const now = Math.floor(serverTime() / 1000);
  for (const second of seconds.keys()) if (second <= now - SECONDS) seconds.delete(second);
  const counts = Array.from({ length: SECONDS }, (_, at) => seconds.get(now - SECONDS + 1 + at) ?? 0);
  const [rate, peak] = [counts.at(-2), Math.max(...counts)]; // of a whole second
  drawBars($("chart"), counts, 5);
  $("rate").textContent = number(rate);
  $("peak").textContent = peak ? `, ${number(peak)} at most` : "";
  $("chart").ariaLabel = `Changes per second in the last 60 seconds: ${rate} now, ${peak} at most`;
}

// What INFO says

const facts = new Map(); // "section.name" -> its element

async function look() {
  try {
    const info = await run({ command: "INFO" });
    for (const [section, found] of Object.entries(info)) showSection(section, found);
    $("no-info").textContent = "";
    const { store = {}, server = {}, process = {} } = info;
    const parts = [plural(store.keys ?? 0, "key"), `revision ${number(store.revision ?? 0)}`];
    if (server.uptime_ms) parts.push(`up ${duration(server.uptime_ms)}`);
    if (process.memory_bytes) parts.push(size(process.memory_bytes));
    $("facts").textContent = parts.join("  ·  ");
  } catch (error) {
    if (!facts.size) $("no-info").textContent = sentence(error);
  }
}

function showSection(section, found) {
  const below = [];
  for (const [name, value] of Object.entries(found)) {
    if (/^below_\d+_us$/.test(name)) below.push([Number(name.match(/\d+/)[0]), value]);
    else setFact(section, name, fact(name, value));
  }
  if (below.length) showSpread(section, below);
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

function label(name) {
  return name === "us" ? "time in all" : name.replace(/_(bytes|ms|us)(?=_|$)/, "").replaceAll("_", " ");
}

/** Set in place, so that what somebody has selected stays so. */
function setFact(section, name, text) {
  const id = `${section}.${name}`;
  if (!facts.has(id)) {
    const told = make("dd", "");
    const term = make("dt", "", label(name));
    term.title = id;
    facts.set(id, told);
    listOf(section).append(make("div", "", term, told));
  }
  if (facts.get(id).textContent !== text) facts.get(id).textContent = text;
}

function fact(name, value) {
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "started") return new Date(value).toLocaleString("en-GB");
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") {
    if ("mean_us" in value) return `${plural(value.calls, "call")}, ${micro(value.mean_us)} each`;
    return Object.entries(value).map(([key, each]) => `${key} ${fact(key, each)}`).join(", ");
  }
  if (typeof value !== "number") return String(value);
  if (/(^|_)bytes|disk_free/.test(name)) return size(value);
  if (/_ms$/.test(name)) return duration(value);
  if (/(^|_)us$/.test(name)) return micro(value);
  return /pid|protocol/.test(name) ? String(value) : number(value);
}

/** The counts below bounds, as bars of what is between two of them. */
function showSpread(section, below) {
  const id = `${section}.spread`;
  if (!facts.has(id)) {
    const svg = $("chart").cloneNode();
    svg.id = id;
    facts.set(id, svg);
    const axis = make("p", "axis", make("span", "", micro(below[0][0])), make("span", "", micro(below.at(-1)[0])));
    listOf(section).before(svg, axis);
  }
  const counts = below.map(([, count], at) => count - (at ? below[at - 1][1] : 0));
  const said = below.map(([bound], at) => `${number(counts[at])} below ${micro(bound)}`);
  drawBars(facts.get(id), counts, 5);
  facts.get(id).ariaLabel = `How long requests took: ${said.filter((_, at) => counts[at]).join(", ")}`;
}

/** INFO each 5 s, and each second while the daemon is away. Without the gateway the feed finds out first. */
async function keepLooking() {
  for (;;) {
    if (document.visibilityState === "visible" && link.stream !== "broken") await look();
    await sleep(link.daemon ? LOOK_MS : LOOK_AWAY_MS);
  }
}

// Views: what is after the # says what is open, so that Back goes back and a key has an address

let place = null;

const addressOf = (id) => `#/key/${percent(id)}`;
const go = (hash) => (hash === (location.hash || "#") ? route(true) : (location.hash = hash));

async function route(isForced) {
  const hash = location.hash;
  if (hash === place && isForced !== true) return;
  if (isDirty() && !(await confirmed("Leave without saving?", "Leave", "Stay"))) {
    location.hash = place;
    return;
  }
  place = hash;
  draft = null;
  const [, name, rest] = hash.split("/");
  if (name === "key" && rest) {
    showView("detail");
    await openKey(unpercent(rest));
    return;
  }
  opening++;
  entry = null;
  document.title = "kvd";
  for (const option of rows.values()) option.ariaSelected = "false";
  showView({ new: "detail", changes: "changes", info: "info" }[name] ?? "keys");
  if (name === "new") startDraft({ id: null, revision: 0, value: new Uint8Array(), expires: null });
  else showDetail("info");
}

function showView(view) {
  document.body.dataset.view = view;
  const current = view === "detail" ? "keys" : view;
  for (const tab of document.querySelectorAll(".tabs a")) {
    tab.ariaCurrent = tab.dataset.view === current ? "page" : null;
  }
}

function showDetail(id) {
  for (const each of ["entry", "editor", "info"]) $(each).hidden = each !== id;
}

function onKey(event) {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.closest("input:not([type=radio]), textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    if (matchMedia("(max-width: 719px)").matches) go("#");
    $("search").focus();
    $("search").select();
  } else if (event.key === "Escape") {
    event.preventDefault();
    escape(event.target);
  }
}

/** Take back one thing: what is typed to find, the draft, the entry. */
async function escape(target) {
  if (target === $("search") && target.value) {
    target.value = "";
    return find();
  }
  if (draft) return cancelDraft();
  if (entry) {
    go("#");
    $("search").focus();
  }
}

// Start

function listen() {
  let typing;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 120);
  });
  $("search").addEventListener("keydown", onSearchKey);
  $("find").addEventListener("submit", (event) => event.preventDefault());
  $("keys").addEventListener("click", (event) => {
    const id = keyOf.get(event.target.closest("li"));
    if (id !== undefined) go(addressOf(id));
  });
  $("more").addEventListener("click", findMore);
  const onSight = new IntersectionObserver(([seen]) => seen.isIntersecting && findMore(), { root: $("keys-scroll") });
  onSight.observe($("more"));

  $("show-as").addEventListener("change", showValue);
  $("edit").addEventListener("click", () => startDraft(entry));
  $("download").addEventListener("click", downloadValue);
  $("clear").addEventListener("click", clearEntry);
  $("edit-as").addEventListener("change", changeForm);
  $("editor").addEventListener("submit", save);
  $("overwrite").addEventListener("click", overwrite);
  $("take-theirs").addEventListener("click", takeTheirs);
  $("cancel").addEventListener("click", cancelDraft);

  $("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    changeFilter();
  });
  $("prefix").addEventListener("change", changeFilter);
  $("pause").addEventListener("click", togglePause);
  $("feed").addEventListener("click", (event) => {
    const id = keyOf.get(event.target.closest("button"));
    if (id !== undefined) go(addressOf(id));
  });
  $("feed").addEventListener("keydown", onFeedKey);
  $("feed").addEventListener("focusin", onFeedFocus);

  $("confirm").addEventListener("submit", (event) => {
    event.preventDefault();
    decide(true);
  });
  $("confirm").addEventListener("cancel", () => decide(false));
  $("confirm-no").addEventListener("click", () => decide(false));
  $("login").addEventListener("close", () => asking && $("login").showModal()); // without a token there is nothing

  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
  addEventListener("hashchange", route);
  addEventListener("beforeunload", (event) => isDirty() && event.preventDefault());
  setInterval(() => {
    showExpiry();
    showRate();
  }, 1000);
}

listen();
showRate();
route(true);
find();
follow();
keepLooking();
