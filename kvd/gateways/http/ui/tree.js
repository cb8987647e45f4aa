// Keys as a tree by a separator. A level is read when it is opened, a bounded number of nodes at a time.
//
// A folder that has more keys than a page is passed over by SCAN FROM, so a level costs a request for each such folder,
// and not for each of its keys.

import { idOf, encode, shown, sizeOfJson } from "./bytes.js";
import { on } from "./bus.js";
import { $ } from "./dom.js";
import { scanFrom } from "./entries.js";
import { sentence } from "./gateway.js";
import { addItems, baseOf, nextStart } from "./levels.js";
import { activate, activeRow, clearRows, factsOf, makeKeyRow, makeRow, showFacts, thingOf } from "./rows.js";
import { number, plural } from "./words.js";

const PAGE_KEYS = 500;
const LEVEL_NODES = 100; // shown of a level until more are asked for
const LEVEL_REQUESTS_MAX = 100;
const RELOADED_LEVELS_MAX = 20;
const RELOAD_MS = 2000;

let tree = null; // {prefix, separator, levels: prefix -> {nodes, start, wanted}}
let loading = new AbortController();

/** Show the keys with a prefix as a tree. What is open stays open when the prefix is the same. */
export async function show(prefix, separator) {
  const isSame = tree?.prefix === prefix && tree.separator === idOf(encode(separator));
  if (!isSame) tree = { prefix, separator: idOf(encode(separator)), levels: new Map([[prefix, newLevel()]]) };
  await reload();
}

export function leave() {
  loading.abort();
  clearTimeout(reloading);
  reloading = null;
  tree = null;
  clearRows();
}

export function retry() {
  if (tree?.error) reload();
}

const newLevel = () => ({ nodes: [], start: null, wanted: LEVEL_NODES });

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
  let requests = 0;
  do {
    const page = await scanFrom(prefix, level.start, PAGE_KEYS, signal);
    signal.throwIfAborted();
    addItems(level.nodes, page.items, prefix, tree.separator);
    level.start = nextStart(level.nodes, page.next);
  } while (level.start !== null && level.nodes.length < level.wanted && ++requests < LEVEL_REQUESTS_MAX);
  if (tree.levels.has(prefix)) tree.levels.set(prefix, level);
}

/** Draw the whole tree; the active row and the place stay. */
function draw() {
  const kept = activeRow() && nameOf(thingOf(activeRow()));
  const top = $("keys-scroll").scrollTop;
  clearRows();
  const rows = [...rowsOf(tree.prefix, baseOf(tree.prefix, tree.separator), 1)];
  $("keys").replaceChildren(...rows);
  if (kept) activate(rows.find((row) => nameOf(thingOf(row)) === kept) ?? null);
  $("keys-scroll").scrollTop = top;
  showState(rows.length);
}

const nameOf = ({ id, folder, more }) => JSON.stringify([id, folder, more]);

function* rowsOf(prefix, base, depth) {
  const level = tree.levels.get(prefix);
  for (const node of level.nodes) {
    if (node.folder === undefined) {
      yield atDepth(makeKeyRow("treeitem", node.item, shown(node.id.slice(base.length)) || "·"), depth);
      continue;
    }
    yield folderRow(node, base, depth);
    if (tree.levels.has(node.folder)) yield* rowsOf(node.folder, node.folder, depth + 1);
  }
  if (level.start !== null && level.nodes.length) yield atDepth(makeRow("treeitem", { more: prefix }, "More …"), depth);
}

function folderRow({ folder, count, isMore }, base, depth) {
  const row = atDepth(makeRow("treeitem", { folder }, shown(folder.slice(base.length))), depth);
  const total = document.createElement("span");
  total.className = "size";
  total.textContent = `${number(count)}${isMore ? "+" : ""}`;
  total.title = `${isMore ? "more than " : ""}${plural(count, "key")}`;
  row.append(total);
  row.classList.add("folder");
  row.ariaExpanded = String(tree.levels.has(folder));
  return row;
}

function atDepth(row, depth) {
  row.ariaLevel = String(depth);
  row.style.setProperty("--depth", depth - 1);
  return row;
}

function showState(count) {
  const { isLoading, error, levels, prefix } = tree;
  const isComplete = levels.get(prefix).start === null;
  $("keys").ariaBusy = String(isLoading);
  $("count").textContent = isLoading && !count ? "Loading keys …" : "";
  $("progress").hidden = $("more").hidden = true;
  $("list-error").hidden = !error;
  $("list-error-text").textContent = error;
  $("again").hidden = false;
  $("no-keys").hidden = count > 0 || isLoading || error !== "";
  $("no-keys").textContent = prefix ? `No key begins with ${shown(prefix)}` : "There is no key yet.";
  if (!isLoading && count) $("count").textContent = isComplete ? plural(levels.get(prefix).nodes.length, "branch").replace(/branchs$/, "branches") : "";
}

let reloading = null;
/** Show the new size of a key that is in view; for all else read the open levels again, soon. */
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
