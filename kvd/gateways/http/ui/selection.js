// Clears several keys: those selected in the list or the tree, or all keys with a prefix.

import { brief, idToJson } from "./bytes.js";
import { emit, on } from "./bus.js";
import { askToConfirm, say } from "./dialogs.js";
import { $ } from "./dom.js";
import { clearCommand, countKeys } from "./entries.js";
import { post, Refusal, run, sentence } from "./gateway.js";
import { listedIds, listedPrefix } from "./list.js";
import { factsOf, markOpen, rowOf, shownIds, thingOf } from "./rows.js";
import { shownPrefix } from "./tree.js";
import { number, plural } from "./words.js";

const CLEARED_AT_ONCE = 500;
const CLEARED_BY_PREFIX = 10_000; // by one command; other clients wait meanwhile
const NAMED_KEYS = 8; // named in the question

const chosen = new Set();
let isOn = false;
let anchor = null; // the start of a range selected with Shift

export const isSelecting = () => isOn;
const isTree = () => $("keys").role === "tree";
const idsInOrder = () => (isTree() ? shownIds() : listedIds());
const prefixOfAll = () => (isTree() ? shownPrefix() : listedPrefix());

export function setSelecting(isWanted) {
  isOn = isWanted;
  for (const id of chosen) unmark(id);
  chosen.clear();
  markOpen();
  anchor = null;
  $("keys").setAttribute("aria-multiselectable", String(isOn));
  $("keys").classList.toggle("selecting", isOn);
  $("select").ariaPressed = String(isOn);
  showSelection();
}

/** Select or deselect a key; with Shift, select the range from the last one. */
export function toggle(row, isRange) {
  const { id } = thingOf(row);
  if (id === undefined) return;
  if (!isOn) setSelecting(true);
  const isChosen = !isMarked(id);
  for (const each of isRange && anchor !== null ? between(anchor, id) : [id]) setChosen(each, isChosen || isRange);
  anchor = id;
  showSelection();
}

function between(one, other) {
  const ids = idsInOrder();
  const [from, to] = [ids.indexOf(one), ids.indexOf(other)].sort((a, b) => a - b);
  return from < 0 ? [other] : ids.slice(from, to + 1);
}

function setChosen(id, isChosen) {
  if (isChosen) chosen.add(id);
  else chosen.delete(id);
  if (isChosen) rowOf(id)?.classList.add("chosen");
  else unmark(id);
  if (rowOf(id)) rowOf(id).ariaSelected = String(isChosen);
}

function unmark(id) {
  rowOf(id)?.classList.remove("chosen");
  if (rowOf(id)) rowOf(id).ariaSelected = "false";
}

export function chooseAll() {
  const ids = idsInOrder();
  const isAll = ids.every(isMarked);
  for (const id of ids) setChosen(id, !isAll);
  showSelection();
}

const isMarked = (id) => Boolean(rowOf(id)?.classList.contains("chosen"));

/** Return the selected keys whose rows are marked. A row that was removed and created again is not. */
const present = () => [...chosen].filter(isMarked);

export function showSelection() {
  const prefix = prefixOfAll();
  const count = present().length;
  $("selection").hidden = !isOn;
  $("selected").textContent = count ? `${number(count)} selected` : "Select keys";
  $("clear-selected").disabled = count === 0;
  $("clear-prefix").hidden = prefix === "";
}

export async function clearSelected() {
  const ids = present();
  const targets = ids.map((id) => [id, factsOf(id).revision ?? 0]);
  const list = ids.slice(0, NAMED_KEYS).map(brief);
  if (ids.length > NAMED_KEYS) list.push(`… and ${number(ids.length - NAMED_KEYS)} more`);
  const question = `Clear ${plural(ids.length, "key")}? This cannot be undone.`;
  if (!(await askToConfirm(question, { yes: `Clear ${plural(ids.length, "key")}`, no: "Keep", isDanger: true, list }))) return;
  await guarded(() => clearTargets(targets));
}

async function clearTargets(targets) {
  let [cleared, changed] = [0, 0];
  for (let at = 0; at < targets.length; at += CLEARED_AT_ONCE) {
    const some = targets.slice(at, at + CLEARED_AT_ONCE);
    const replies = await post(some.map(([id, revision]) => clearCommand(id, revision)));
    const done = some.filter((_, place) => !replies[place].error).map(([id]) => id);
    const fault = replies.find(({ error }) => error && error.code !== "CONFLICT");
    cleared += done.length;
    changed += replies.filter(({ error }) => error?.code === "CONFLICT").length;
    emit("clear", done);
    showProgress(cleared + changed, targets.length);
    if (fault) throw Object.assign(new Refusal(0, fault.error), { done: cleared });
  }
  const kept = changed ? ` ${plural(changed, "key")} changed meanwhile, and ${changed === 1 ? "is" : "are"} kept.` : "";
  say(`${plural(cleared, "key")} cleared.${kept}`);
}

export async function clearPrefix() {
  const prefix = prefixOfAll();
  try {
    const total = await countKeys(prefix);
    const question = `Clear all ${plural(total, "key")} that begin with ${brief(prefix)}? This cannot be undone.`;
    const answer = { yes: `Clear ${plural(total, "key")}`, no: "Keep", isDanger: true };
    if (total === 0) say("There is no such key any more.");
    else if (await askToConfirm(question, answer)) await guarded(() => clearAll(prefix, total));
  } catch (error) {
    say(sentence(error));
  }
}

/** Clear the keys with a prefix in chunks, up to about the number that the question has stated. */
async function clearAll(prefix, total) {
  let cleared = 0;
  while (cleared < total) {
    const count = await run({ command: "CLEARPREFIX", prefix: idToJson(prefix), limit: CLEARED_BY_PREFIX });
    cleared += count;
    showProgress(cleared, total);
    if (count < CLEARED_BY_PREFIX) break;
  }
  emit("clear", idsInOrder().filter((id) => id.startsWith(prefix)));
  say(`${plural(cleared, "key")} cleared.`);
}

async function guarded(work) {
  $("selection").inert = true;
  try {
    await work();
    setSelecting(false);
  } catch (error) {
    const done = error.done ? ` ${plural(error.done, "key")} cleared before that.` : "";
    say(`${sentence(error, true)}${done}`);
  } finally {
    $("selection").inert = false;
    showSelection();
  }
}

function showProgress(done, total) {
  if (done < total) $("selected").textContent = `${number(done)} of ${number(total)} cleared`;
}

export function listen() {
  $("select").addEventListener("click", () => setSelecting(!isOn));
  $("select-all").addEventListener("click", chooseAll);
  $("clear-selected").addEventListener("click", clearSelected);
  $("clear-prefix").addEventListener("click", clearPrefix);
  on("draw", () => isOn && showSelection());
  on("change", ({ kind }) => isOn && kind !== "set" && showSelection());
}
