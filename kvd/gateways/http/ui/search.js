// Matches keys against a search. Pure.

import { keyText, parseKey } from "./bytes.js";

/** Return a predicate for ids of keys that begin with a text, or contain it; the latter ignores case. */
export function matcher(text, isContained) {
  const prefix = parseKey(text);
  if (!isContained || text === "") return (id) => id.startsWith(prefix);
  const needle = text.toLowerCase();
  return (id) => keyText(id).toLowerCase().includes(needle);
}

/** Return the index of an id in a sorted array, or the index at which to insert it. */
export function placeOf(ids, id) {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
