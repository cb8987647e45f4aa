// Keys as a tree. A level is read when it is opened, a bounded number of nodes at a time.
//
// SCAN FROM skips the rest of a folder with more keys than a page. A level therefore needs one request for each such
// folder, independent of its number of keys.

import { brief, keyText, sizeOfJson } from "./bytes.js";
import { emit, on } from "./bus.js";
import { $, make } from "./dom.js";
import { scanFrom } from "./entries.js";
import { sentence } from "./gateway.js";
import { addItems, baseOf, nextStart, separatorsIn } from "./levels.js";
import { arrange, clearRows, dropRow, factsOf, makeKeyRow, makeRow, showFacts } from "./rows.js";
import { number, plural } from "./words.js";

const PAGE_KEYS = 500;
const LEVEL_NODES = 100; // shown per level, until the user requests more
const LEVEL_REQUESTS_MAX = 2 * LEVEL_NODES;
const DRAWN_REQUESTS = 10; // after this many, a level is drawn before it is complete
const RELOADED_LEVELS_MAX = 20;
const RELOAD_MS = 2000;

let tree = null; // {prefix, text (of the separators), separators, levels: prefix -> level}
let loading = new AbortController();

/** Show the keys with a prefix as a tree. If the prefix is the same, open folders stay open. */
export async function show(prefix, text) {
  narrow(prefix, text);
  await reload();
}

/** Remove the tree of another prefix at once, so that none of its keys can be clicked. */
export function narrow(prefix, text) {
  if (tree?.prefix === prefix && tree.text === text) return;
  loading.abort();
  const levels = new Map([[prefix, newLevel()]]);
  tree = { prefix, text, separators: separatorsIn(text), levels, isLoading: true, error: "" };
  draw();
}

/** Return the prefix of the keys in the tree. */
export const shownPrefix = () => tree?.prefix ?? "";

export function leave() {
  loading.abort();
  clearTimeout(reloading);
  reloading = null;
  tree = null;
  drawn.clear();
  clearRows();
}

export function retry() {
  if (tree?.error) reload();
}

const newLevel = () => ({ nodes: [], start: null, isComplete: false, wanted: LEVEL_NODES });
const isFull = ({ nodes, isComplete, wanted }) => isComplete || nodes.length > wanted; // one more node shows that there are more

/** Open or close a folder, or read more of a level. */
export async function press({ folder, more }) {
  if (more !== undefined) {
    tree.levels.get(more).wanted += LEVEL_NODES;
    await attempt((signal) => readLevel(more, signal));
  } else if (tree.levels.delete(folder)) {
    draw();
  } else {
    tree.levels.set(folder, newLevel());
    await attempt((signal) => readLevel(folder, signal));
  }
}

/** Read all open levels again. */
async function reload() {
  await attempt(async (signal) => {
    for (const prefix of [...tree.levels.keys()].slice(0, RELOADED_LEVELS_MAX)) {
      const { wanted } = tree.levels.get(prefix);
      const fresh = { ...newLevel(), wanted };
      await readLevel(prefix, signal, fresh);
    }
  });
}

async function attempt(work) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  Object.assign(tree, { isLoading: true, error: "" });
  draw();
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) tree.error = sentence(error);
  }
  if (signal.aborted) return;
  tree.isLoading = false;
  draw();
}

async function readLevel(prefix, signal, level = tree.levels.get(prefix)) {
  for (let requests = 0; requests < LEVEL_REQUESTS_MAX && !isFull(level); requests++) {
    const page = await scanFrom(prefix, level.start, PAGE_KEYS, signal);
    signal.throwIfAborted();
    addItems(level.nodes, page.items, prefix, tree.separators);
    level.start = nextStart(level.nodes, page.next);
    level.isComplete = level.start === null;
    if (tree.levels.get(prefix) === level && requests % DRAWN_REQUESTS === DRAWN_REQUESTS - 1) draw();
  }
  if (tree.levels.has(prefix)) tree.levels.set(prefix, level);
}

let drawn = new Map(); // name of a row -> the row

/** Draw the tree. Unchanged rows are kept, and with them the active row and the scroll position. */
function draw() {
  const before = drawn;
  drawn = new Map();
  const rows = [...rowsOf(tree.prefix, baseOf(tree.prefix, tree.separators), 1)];
  for (const [name, row] of before) if (drawn.get(name) !== row) dropRow(row);
  arrange(rows);
  showState(rows.length);
  emit("draw");

  /** Yield the rows of a level, including those in its open folders. */
  function* rowsOf(prefix, base, depth) {
    const level = tree.levels.get(prefix);
    for (const node of level.nodes.slice(0, level.wanted)) {
      if (node.folder === undefined) {
        yield keyRow(before, node.item, base, depth);
        continue;
      }
      yield folderRow(before, node, base, depth);
      if (tree.levels.has(node.folder)) yield* rowsOf(node.folder, node.folder, depth + 1);
    }
    if (hasMore(level)) yield keep(before, `more ${depth} ${prefix}`, () => makeRow("treeitem", { more: prefix }, "More …"), depth);
  }
}

/** Return the row with a name, or a new one. */
function keep(before, name, create, depth) {
  const row = before.get(name) ?? atDepth(create(), depth);
  drawn.set(name, row);
  return row;
}

function keyRow(before, item, base, depth) {
  const { id, ...facts } = item;
  const text = keyText(id.slice(base.length)) || "·";
  const row = keep(before, `key ${depth} ${base.length} ${id}`, () => makeKeyRow("treeitem", item, text), depth);
  showFacts(id, facts);
  return row;
}

const hasMore = ({ nodes, isComplete, wanted }) => nodes.length > wanted || (!isComplete && nodes.length > 0);

function folderRow(before, { folder, count, isMore }, base, depth) {
  const row = keep(before, `folder ${depth} ${base.length} ${folder}`, () => newFolderRow(folder, base), depth);
  row.lastElementChild.textContent = `${number(count)}${isMore ? "+" : ""}`;
  row.lastElementChild.title = `${isMore ? "more than " : ""}${plural(count, "key")}`;
  row.ariaExpanded = String(tree.levels.has(folder));
  return row;
}

function newFolderRow(folder, base) {
  const row = makeRow("treeitem", { folder }, keyText(folder.slice(base.length)));
  row.append(make("span", "size"));
  row.classList.add("folder");
  return row;
}

function atDepth(row, depth) {
  row.ariaLevel = String(depth);
  row.style.setProperty("--depth", depth - 1);
  return row;
}

function showState(count) {
  const { isLoading, error, prefix } = tree;
  $("keys").ariaBusy = String(isLoading);
  $("count").textContent = isLoading && !count ? "Loading keys …" : "";
  $("progress").hidden = $("more").hidden = true;
  $("list-error").hidden = !error;
  $("list-error-text").textContent = error;
  $("again").hidden = false;
  $("no-keys").hidden = count > 0 || isLoading || error !== "";
  $("no-keys").textContent = prefix ? `No key begins with ${brief(prefix)}` : "There is no key yet.";
}

let reloading = null;
/** Show the new size of a visible key; for other changes, read the open levels again soon. */
function onChange({ id, kind, revision, value, expires = null }) {
  if (!tree || !id.startsWith(tree.prefix)) return;
  if (kind === "set" && factsOf(id)) showFacts(id, { size: sizeOfJson(value), revision, expires });
  else reloadSoon();
}

function reloadSoon() {
  reloading ??= setTimeout(() => {
    reloading = null;
    if (tree) reload();
  }, RELOAD_MS);
}

on("change", onChange);
on("clear", () => tree && reload());
on("save", () => tree && reloadSoon());
on("follow", () => tree && reload());
on("back", retry);
