// Divides keys into the levels of a tree, at separator characters. Pure.

/** Return the first id after all ids with a prefix; null: there is none. */
export function after(prefix) {
  const kept = prefix.replace(/\xff+$/, "");
  if (kept === "") return null;
  return kept.slice(0, -1) + String.fromCharCode(kept.charCodeAt(kept.length - 1) + 1);
}

/** Return the separators in a text: each of its ASCII characters. */
export const separatorsIn = (text) => new Set(Array.from(text).filter((each) => each <= "\x7f"));

/** Return the part of a prefix that names omit: up to the last separator. */
export function baseOf(prefix, separators) {
  let end = prefix.length;
  while (end > 0 && !separators.has(prefix[end - 1])) end--;
  return prefix.slice(0, end);
}

/** Return the folder of an id on a level, including its separator; null: the id is a key of the level itself. */
function folderOf(id, prefix, separators) {
  for (let at = prefix.length; at < id.length; at++) if (separators.has(id[at])) return id.slice(0, at + 1);
  return null;
}

/** Add the items of a page, in order, to the nodes of a level: keys, and folders with their number of keys so far. */
export function addItems(nodes, items, prefix, separators) {
  for (const item of items) {
    const folder = folderOf(item.id, prefix, separators);
    const last = nodes.at(-1);
    if (folder === null) nodes.push({ id: item.id, item });
    else if (last?.folder === folder) last.count++;
    else nodes.push({ folder, count: 1, isMore: false });
  }
  return nodes;
}

/** Return the start of the next page of a level, after an unfinished folder; null: the level is complete. */
export function nextStart(nodes, next) {
  if (next === null) return null;
  const last = nodes.at(-1);
  if (!last?.folder || !next.startsWith(last.folder)) return `${next}\0`;
  last.isMore = true;
  return after(last.folder);
}
