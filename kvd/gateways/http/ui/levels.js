// Keys as the levels of a tree, by a separator. Pure.

/** Return the first id after all that begin with a prefix; null: there is none. */
export function after(prefix) {
  const kept = prefix.replace(/\xff+$/, "");
  if (kept === "") return null;
  return kept.slice(0, -1) + String.fromCharCode(kept.charCodeAt(kept.length - 1) + 1);
}

/** Return the part of a prefix that its names leave out: up to the last separator. */
export function baseOf(prefix, separator) {
  const at = prefix.lastIndexOf(separator);
  return at < 0 ? "" : prefix.slice(0, at + separator.length);
}

/** Add the items of a page, in order, to the nodes of a level: keys, and folders with the number of keys seen in them. */
export function addItems(nodes, items, prefix, separator) {
  for (const item of items) {
    const end = item.id.indexOf(separator, prefix.length);
    if (end < 0) {
      nodes.push({ id: item.id, item });
      continue;
    }
    const folder = item.id.slice(0, end + separator.length);
    const last = nodes.at(-1);
    if (last?.folder === folder) last.count++;
    else nodes.push({ folder, count: 1, isMore: false });
  }
  return nodes;
}

/** Return where the next page of a level begins; null: the level is complete. A folder that goes on is passed over. */
export function nextStart(nodes, next) {
  if (next === null) return null;
  const last = nodes.at(-1);
  if (!last?.folder || !next.startsWith(last.folder)) return `${next}\0`;
  last.isMore = true;
  return after(last.folder);
}
