// Which keys a search finds. Pure.

import { keyText, parseKey } from "./bytes.js";

/** Return the test for keys that begin with a text, or contain it; the latter ignores case. */
export function matcher(text, isContained) {
  const prefix = parseKey(text);
  if (!isContained || text === "") return (id) => id.startsWith(prefix);
  const needle = text.toLowerCase();
  return (id) => keyText(id).toLowerCase().includes(needle);
}

/** Return the place of an id in a sorted array: of the id itself, or where it belongs. */
export function placeOf(ids, id) {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
