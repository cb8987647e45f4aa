// The editor of an entry, and of a new key. A draft is never overwritten: saving detects conflicting changes.

import { brief, idOf, keyText, parseKey } from "./bytes.js";
import { emit } from "./bus.js";
import { askToConfirm, say } from "./dialogs.js";
import { $, setNote, setRadios } from "./dom.js";
import { readPart, writeKey } from "./entries.js";
import { quietly } from "./entry.js";
import { FORMS, hasLongLine, linesOf } from "./forms.js";
import { sentence, serverTime } from "./gateway.js";
import { addressOf, go, showDetail } from "./router.js";
import { isWhole, preview } from "./value.js";
import { hasTurning, waysToShow } from "./values.js";
import { number, size } from "./words.js";

const FIELDS = ["editor-key", "editor-value", "editor-ttl", "editor-file"];
const EDITED_BYTES_MAX = 256 * 1024; // above this a keystroke takes seconds

// {id (null: a new key), base, eol, form, typed, before (the fields as they were), ttl, expires, theirs}
let draft = null;
let isSaving = false;

export const hasDraft = () => draft !== null;
const fields = () => JSON.stringify(FIELDS.map((id) => $(id).value));
export const isDirty = () => draft !== null && fields() !== draft.before;

/** Ask whether a draft may be discarded; return true if there is none. */
export async function mayLeave() {
  return !isDirty() || askToConfirm("Leave without saving?", { yes: "Leave", no: "Stay", isDanger: true });
}

export function leave() {
  draft = null;
}

/** Edit a new key, with the name from the search. */
export function startNew(id = parseKey($("search").value)) {
  start({ id: null, revision: 0, value: new Uint8Array(), size: 0, expires: null }, id);
}

/** Edit an entry. */
export function start(entry, name = "") {
  const left = entry.expires ? Math.max(1, Math.ceil((entry.expires - serverTime()) / 1000)) : "";
  draft = { id: entry.id, base: entry.revision, eol: "\n", expires: entry.expires, ttl: String(left) };
  $("editor-title").classList.toggle("key", entry.id !== null);
  $("editor-title").textContent = entry.id === null ? "New key" : brief(entry.id);
  $("editor-key-field").hidden = entry.id !== null;
  $("editor-key").value = entry.id === null ? keyText(name) : "";
  $("editor-file").value = "";
  $("editor-ttl").value = draft.ttl;
  $("conflict").hidden = true;
  setNote("editor-error");
  showForm(bestForm(entry), entry.value, isWhole(entry));
  $("editor-note").textContent = noteOf(entry);
  showDetail("editor");
  draft.before = fields();
  focusField(entry);
}

function focusField({ id }) {
  const field = id === null ? "editor-key" : draft.form === "file" ? "editor-file" : "editor-value";
  $(field).focus();
  $("editor-value").setSelectionRange(0, 0);
}

function bestForm(entry) {
  if (!isEditable(entry.value, isWhole(entry))) return "file";
  const isText = waysToShow(entry.value, true)[0] !== "hex" && canHold("text", entry.value);
  return isText ? "text" : "hex";
}

const isEditable = (bytes, isAll) => isAll && bytes.length <= EDITED_BYTES_MAX;

/** Return whether a form can represent the bytes and the browser can edit them. */
function canHold(form, bytes) {
  const text = FORMS[form].write(bytes);
  return text !== null && !hasLongLine(text);
}

function noteOf(entry) {
  if (entry.size > EDITED_BYTES_MAX) return `Values of more than ${size(EDITED_BYTES_MAX)} are replaced by a file.`;
  const lines = linesOf(entry.value);
  if (lines && hasLongLine(lines.text)) return "A line is too long to be edited as text here.";
  return lines && hasTurning(lines.text) ? "Some characters change the direction of the text around them." : "";
}

/** Show bytes in a form, and disable the forms that cannot represent them. */
function showForm(form, bytes, isAll = true) {
  const isOpen = isEditable(bytes, isAll);
  setRadios("form", form, (each) => each === "file" || (isOpen && canHold(each, bytes)));
  draft.form = form;
  if (form === "text") draft.eol = linesOf(bytes).eol;
  $("editor-value").value = form === "file" ? "" : FORMS[form].write(bytes);
  $("editor-value").dataset.form = form;
  $("editor-value").hidden = form === "file";
  $("editor-file-field").hidden = form !== "file";
}

/** Refuse a text that the browser cannot edit: with a line of 1 MB, each keystroke would block the page for seconds. */
function refuseLarge(event) {
  const text = (event.clipboardData ?? event.dataTransfer).getData("text/plain");
  const isLarge = text.length + $("editor-value").value.length > EDITED_BYTES_MAX;
  if (!isLarge && !hasLongLine(text)) return;
  event.preventDefault();
  const why = isLarge ? `The value would have more than ${size(EDITED_BYTES_MAX)}` : "A line is too long to be edited";
  setNote("editor-error", `${why}: save it as a file, and choose File here.`);
}

async function changeForm(event) {
  const form = event.target.value;
  setNote("editor-error");
  try {
    // Selecting this form keeps the typed text: it is restored if no file is chosen.
    const isBack = draft.form === "file" && !$("editor-file").files.length;
    const bytes = isBack ? draft.typed : await valueOfDraft();
    if (form === "file") draft.typed = bytes;
    const isOpen = form === "file" || (isEditable(bytes, true) && canHold(form, bytes));
    showForm(isOpen ? form : "file", bytes);
  } catch (error) {
    setNote("editor-error", error.message);
    setRadios("form", draft.form);
  }
}

async function valueOfDraft() {
  if (draft.form !== "file") return FORMS[draft.form].read($("editor-value").value, draft.eol);
  const [file] = $("editor-file").files;
  if (!file) throw new Error("Choose a file first.");
  return new Uint8Array(await file.arrayBuffer());
}

/** Return the typed time to live in seconds; if it was not edited, the remaining time. Null: no expiry. */
function ttlOfDraft() {
  const text = $("editor-ttl").value.trim();
  if (text === "") return null;
  if (draft.expires && text === draft.ttl) return Math.max(0.001, (draft.expires - serverTime()) / 1000).toFixed(3);
  if (!/^\d{1,10}(\.\d{1,3})?$/.test(text) || Number(text) === 0) {
    throw new Error("Expires in: type a number of seconds, such as 60 or 0.5, or nothing for never.");
  }
  return text;
}

async function save(event) {
  event?.preventDefault();
  if (isSaving) return;
  setNote("editor-error");
  isSaving = true;
  try {
    await quietly(write);
  } catch (error) {
    setNote("editor-error", error.message);
  } finally {
    isSaving = false;
  }
}

/** Save the draft. Shows a conflict; throws other failures as a message. */
async function write() {
  const mine = draft;
  const id = draft.id ?? parseKey($("editor-key").value);
  if (id === "") throw new Error("A key has at least one byte.");
  const [value, ttl] = [await valueOfDraft(), ttlOfDraft()];
  try {
    await writeKey(id, value, draft.base, ttl);
  } catch (error) {
    if (error.code !== "CONFLICT") throw new Error(sentence(error, true));
    if (mine === draft) await showConflict(id, value);
    return;
  }
  say(`${brief(id)} is saved.`);
  emit("save", id);
  if (mine !== draft) return;
  draft = null;
  go(addressOf(id));
}

/** Show the present value, and let the user choose. */
async function showConflict(id, mine) {
  const theirs = await readPart(id, 0);
  const isSame = theirs && isWhole(theirs) && idOf(theirs.value) === idOf(mine);
  draft.theirs = theirs;
  const value = isSame ? ", with the same value as yours." : ":";
  const now = theirs && `is at revision ${number(theirs.revision)} now${value}`;
  $("conflict-title").textContent = draft.id === null ? "The key exists already" : "Changed meanwhile";
  $("conflict-text").textContent = `${brief(id)} ${now || "was cleared meanwhile."}`;
  $("conflict-value").hidden = !theirs || isSame;
  $("conflict-value").replaceChildren(...(theirs ? preview(theirs.value, isWhole(theirs)) : []));
  $("conflict").hidden = false;
  $("overwrite").focus();
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

export async function cancel() {
  if (!(await mayLeave()) || !draft) return;
  const { id } = draft;
  draft = null;
  go(id === null ? "#" : addressOf(id));
}

/** Report a change of the edited entry; keep the draft. Return whether there is a draft. */
export function follow({ id, revision }) {
  if (id !== draft?.id || revision <= draft.base) return draft !== null;
  if (!isSaving) $("editor-note").textContent = `Changed meanwhile, at revision ${number(revision)}.`;
  return true;
}

export function listen() {
  $("edit-as").addEventListener("change", changeForm);
  $("editor").addEventListener("submit", save);
  $("editor").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(event);
  });
  for (const name of ["paste", "drop"]) $("editor-value").addEventListener(name, refuseLarge);
  $("overwrite").addEventListener("click", overwrite);
  $("take-theirs").addEventListener("click", takeTheirs);
  $("cancel").addEventListener("click", cancel);
  addEventListener("beforeunload", (event) => isDirty() && event.preventDefault());
}
