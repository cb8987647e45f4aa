// The form above the keys: the search, and the choice between a list and a tree.

import { parseKey } from "./bytes.js";
import { on } from "./bus.js";
import { $, chosenRadio, isPhone, setRadios } from "./dom.js";
import * as list from "./list.js";
import { addressOf, go } from "./router.js";
import { activeRow, hasRow, markOpen, rowOf, showTimes, step, thingOf } from "./rows.js";
import { isSelecting, setSelecting, showSelection, toggle } from "./selection.js";
import * as tree from "./tree.js";

const TYPING_MS = 120;
const TIMES_MS = 5000;
const TURNS = { false: "ArrowRight", true: "ArrowLeft" }; // a closed folder opens, an open one closes
const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };

let typing;
const isTree = () => chosenRadio("view") === "tree";
const treeAsked = () => [parseKey($("search").value), $("separator").value];
const isContained = () => chosenRadio("match") === "contains";

/** Show the keys for the present input. */
export function find() {
  clearTimeout(typing);
  $("keys-scroll").scrollTop = 0;
  if (isTree()) tree.show(...treeAsked());
  else list.find($("search").value, isContained());
  showSelection();
}

/** Filter the shown keys at once, and search when typing pauses. */
function onInput() {
  clearTimeout(typing);
  typing = setTimeout(find, TYPING_MS);
  if (isTree()) tree.narrow(...treeAsked());
  else list.narrow($("search").value, isContained());
}

function onView() {
  setSelecting(false);
  list.leave();
  tree.leave();
  const isShown = isTree();
  $("keys").role = isShown ? "tree" : "listbox";
  $("search").setAttribute("aria-haspopup", isShown ? "tree" : "listbox");
  $("separator-field").hidden = !isShown;
  setRadios("match", isShown ? "begins" : chosenRadio("match"), (way) => !isShown || way === "begins");
  find();
}

function onMatch() {
  const word = isContained() ? "Find keys that contain" : "Find keys by prefix";
  $("search").placeholder = word;
  find();
  $("search").focus();
}

async function onKey(event) {
  const by = STEPS[event.key];
  if (by) {
    event.preventDefault();
    if (!step(by) && by > 0) await list.more();
  } else if (event.key === "Enter") {
    event.preventDefault();
    pressEnter();
  } else if (event.key === TURNS[activeRow()?.ariaExpanded]) {
    event.preventDefault();
    press(activeRow(), {});
  } else if (event.key === " " && isSelecting() && activeRow()) {
    event.preventDefault();
    toggle(activeRow(), event.shiftKey);
  }
}

function pressEnter() {
  const exact = parseKey($("search").value);
  const row = activeRow() ?? (hasRow(exact) ? rowOf(exact) : $("keys").firstElementChild);
  if (row) press(row, {});
}

function press(row, { ctrlKey, metaKey, shiftKey }) {
  const thing = thingOf(row);
  if (thing.id === undefined) tree.press(thing);
  else if (isSelecting() || ctrlKey || metaKey || shiftKey) toggle(row, shiftKey);
  else go(addressOf(thing.id));
}

/** Empty the search; return whether there was one. */
export function reset() {
  if ($("search").value === "") return false;
  $("search").value = "";
  find();
  return true;
}

export function focus() {
  if (isPhone()) go("#");
  $("search").focus();
  $("search").select();
}

export function listen() {
  $("search").addEventListener("input", onInput);
  $("search").addEventListener("keydown", onKey);
  $("find").addEventListener("submit", (event) => event.preventDefault());
  $("match").addEventListener("change", onMatch);
  $("view").addEventListener("change", onView);
  $("separator").addEventListener("change", find);
  $("keys").addEventListener("click", (event) => {
    const row = event.target.closest("li");
    if (row) press(row, event);
  });
  $("more").addEventListener("click", list.more);
  $("stop").addEventListener("click", list.stop);
  $("again").addEventListener("click", find);
  const onSight = ([seen]) => seen.isIntersecting && !list.isSearching() && list.more();
  new IntersectionObserver(onSight, { root: $("keys-scroll") }).observe($("more"));
  setInterval(showTimes, TIMES_MS);
  on("open", markOpen);
}
