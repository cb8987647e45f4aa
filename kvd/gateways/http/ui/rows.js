// The rows of keys on the left, in the list and in the tree: the key and facts of each row, and the active row.
//
// The search field keeps the focus, like a combobox: arrows move the active row, Enter opens it.

import { keyText } from "./bytes.js";
import { $, make } from "./dom.js";
import { serverTime } from "./gateway.js";
import { date, shortDuration, shortSize, size } from "./words.js";

const rows = new Map(); // id -> {row, facts: {size, revision, expires}}
const things = new WeakMap(); // row -> the target of a click: {id}, {folder} or {more}
let count = 0;
let active = null;
let open = null; // the id of the key that is open

export const rowOf = (id) => rows.get(id)?.row;
export const factsOf = (id) => rows.get(id)?.facts;
export const hasRow = (id) => rows.has(id);
export const thingOf = (row) => things.get(row);
export const activeRow = () => active;
export const knownIds = () => [...rows.keys()];
/** Return the ids of the keys that have a row, in their order on the page. */
export const shownIds = () => [...$("keys").children].map((row) => thingOf(row).id).filter((id) => id !== undefined);

/** Return a new row. */
export function makeRow(role, thing, text) {
  const row = make("li", "row", make("span", "key", text));
  row.role = role;
  row.id = `row-${count++}`;
  things.set(row, thing);
  return row;
}

/** Return a new row for a key. */
export function makeKeyRow(role, { id, ...facts }, text = keyText(id)) {
  const row = makeRow(role, { id }, text);
  row.append(make("span", "ttl"), make("span", "size"));
  row.ariaSelected = String(id === open);
  rows.set(id, { row, facts });
  showFacts(id, facts);
  return row;
}

/** Show the size of a key's value and its time to live. */
export function showFacts(id, facts) {
  const known = rows.get(id);
  known.facts = facts;
  const [, ttl, length] = known.row.children;
  length.textContent = facts.size === undefined ? "" : shortSize(facts.size);
  length.title = facts.size === undefined ? "" : size(facts.size);
  ttl.textContent = facts.expires ? shortDuration(facts.expires - serverTime()) : "";
  ttl.title = facts.expires ? `expires ${date(facts.expires)}` : "";
}

/** Update the times to live. */
export function showTimes() {
  for (const [id, { facts }] of rows) if (facts.expires) showFacts(id, facts);
}

export function removeRow(id) {
  const row = rowOf(id);
  if (row === active) activate(null);
  row?.remove();
  rows.delete(id);
}

/** Remove a row, and its key unless that has another row. */
export function dropRow(row) {
  const { id } = things.get(row);
  if (rowOf(id) === row) rows.delete(id);
  if (row === active) activate(null);
  row.remove();
}

/** Sort rows. A row that stays in its place is not moved, because a click on it would be lost. */
export function arrange(all) {
  let place = $("keys").firstElementChild;
  for (const row of all) {
    if (row === place) place = place.nextElementSibling;
    else $("keys").insertBefore(row, place);
  }
}

export function clearRows() {
  activate(null);
  rows.clear();
  $("keys").replaceChildren();
}

export function activate(row) {
  active?.classList.remove("active");
  active = row;
  row?.classList.add("active");
  row?.scrollIntoView({ block: "nearest" });
  if (row) $("search").setAttribute("aria-activedescendant", row.id);
  else $("search").removeAttribute("aria-activedescendant");
}

/** Move the active row by a number of rows; return whether there were enough rows. */
export function step(by) {
  const all = [...$("keys").children];
  const at = all.indexOf(active);
  const to = at < 0 && by < 0 ? 0 : Math.min(Math.max(at + by, 0), all.length - 1);
  if (all.length) activate(all[to]);
  return at + by < all.length;
}

/** Mark the open key; null: none. Without an argument, mark the same key again. */
export function markOpen(id = open) {
  if (rowOf(open)) rowOf(open).ariaSelected = "false";
  open = id;
  if (rowOf(id)) rowOf(id).ariaSelected = "true";
}
