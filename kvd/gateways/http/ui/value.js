// The value of the open entry: shows the loaded part as text, JSON or hex.

import { textOf, textOfPart } from "./bytes.js";
import { $, chosenRadio, drawPiece, isPhone, make, setNote, setRadios } from "./dom.js";
import { dump, groups, parts, pretty, textPieces, waysToShow } from "./values.js";
import { size } from "./words.js";

const HEX_PART_BYTES = 32 * 1024;
const SHOWN_BYTES_MAX = 4 * 1024 * 1024; // above this the page would be slow; Download returns the whole value
const PREVIEW_BYTES = 2048;
const FILL_MS = 12; // less than a frame, so that the first blocks are visible at once
const FILL_MS_MAX = 80; // each turn also costs a layout
const NAMES = { json: "JSON", text: "text", hex: "binary" };

let steps = 1; // how many parts of the hex view are shown

/** Show a new or changed value. The present form is kept if it is possible. */
export function showFirst(entry, isSameKey) {
  const ways = waysToShow(entry.value, isWhole(entry));
  const before = chosenRadio("show");
  setRadios("show", isSameKey && ways.includes(before) ? before : ways[0], (way) => ways.includes(way));
  $("entry-content").textContent = NAMES[ways[0]];
  steps = 1;
  draw(entry);
}

export const isWhole = (entry) => entry.value.length === entry.size;

/** Return how many of the loaded bytes the present view shows. */
export function shownBytes(entry) {
  const most = chosenRadio("show") === "hex" ? steps * HEX_PART_BYTES : entry.value.length;
  return Math.min(most, entry.value.length, SHOWN_BYTES_MAX);
}

/** Return whether the next part must be loaded before more can be shown. */
export const needsPart = (entry) => shownBytes(entry) === entry.value.length && !isWhole(entry);

export function showMore(entry) {
  steps++;
  draw(entry);
}

export function draw(entry) {
  const way = chosenRadio("show");
  const part = entry.value.subarray(0, shownBytes(entry));
  const isCut = part.length < entry.size;
  $("value").dataset.way = way;
  fill(groups(piecesOf(way, part, isCut)));
  const isFull = part.length >= SHOWN_BYTES_MAX;
  const cut = `The first ${size(part.length)} of ${size(entry.size)}.${isFull ? " Download returns the whole value." : ""}`;
  setNote("value-note", isCut ? cut : part.length ? "" : "The value is empty.");
  $("value-more").hidden = !isCut || isFull;
  $("value-more").disabled = false;
}

function* piecesOf(way, part, isCut) {
  if (way === "hex") yield* dump(part, isPhone() ? 8 : 16);
  else if (way === "json") yield* pretty(textOf(part));
  else for (const each of parts(textOfPart(part, isCut))) yield* textPieces(each);
}

const append = (pieces) => $("value").append(make("div", "block", ...pieces.map(drawPiece)));

let filling;
/** Draw groups of pieces, in several turns: 130,000 numbers in JSON would block the page for a second. */
function fill(blocks) {
  clearTimeout(filling);
  $("value").replaceChildren();
  $("value").ariaBusy = "true";
  const go = (ms) => {
    const until = performance.now() + ms;
    let next = blocks.next(); // for...of would close the generator at the end of this turn
    for (; !next.done && performance.now() < until; next = blocks.next()) append(next.value);
    if (!next.done) append(next.value);
    if (next.done) $("value").ariaBusy = "false";
    else filling = setTimeout(go, 0, Math.min(2 * ms, FILL_MS_MAX));
  };
  go(FILL_MS);
}

/** Return the elements for the beginning of a value. */
export function preview(value, isAll = true) {
  const part = value.subarray(0, PREVIEW_BYTES);
  const isCut = part.length < value.length || !isAll;
  const more = isCut ? "\n…" : "";
  if (waysToShow(part, !isCut)[0] === "hex") return [...Array.from(dump(part, 16), drawPiece), more];
  return [...Array.from(textPieces(textOfPart(part, isCut)), drawPiece), more];
}

/** Return the text for the clipboard, in the present form: text, or the bytes in hex. */
export function copyText(value) {
  const text = chosenRadio("show") === "hex" ? null : textOf(value);
  return text ?? Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

