// The value of the open entry: the part of it that is loaded, as text, JSON or hex.

import { textOf, textOfPart } from "./bytes.js";
import { $, chosenRadio, drawPiece, isPhone, make, setNote, setRadios } from "./dom.js";
import { blocks, dump, pretty, textPieces, waysToShow } from "./values.js";
import { size } from "./words.js";

const HEX_PART_BYTES = 32 * 1024;
const SHOWN_BYTES_MAX = 4 * 1024 * 1024; // then the page would be slow: Download has all
const PREVIEW_BYTES = 2048;
const NAMES = { json: "JSON", text: "text", hex: "binary" };

let parts = 1; // how many of the hex view are shown

/** Show a value for the first time, or as it is after a change; the way to show it stays where it fits. */
export function showFirst(entry, isSameKey) {
  const ways = waysToShow(entry.value, isWhole(entry));
  const before = chosenRadio("show");
  setRadios("show", isSameKey && ways.includes(before) ? before : ways[0], (way) => ways.includes(way));
  $("entry-content").textContent = NAMES[ways[0]];
  parts = 1;
  draw(entry);
}

export const isWhole = (entry) => entry.value.length === entry.size;

/** Return how many bytes the present view shows of those that are loaded. */
export function shownBytes(entry) {
  const most = chosenRadio("show") === "hex" ? parts * HEX_PART_BYTES : entry.value.length;
  return Math.min(most, entry.value.length, SHOWN_BYTES_MAX);
}

/** Return whether the next part has to be loaded before more can be shown. */
export const needsPart = (entry) => shownBytes(entry) === entry.value.length && !isWhole(entry);

export function showMore(entry) {
  parts++;
  draw(entry);
}

export function draw(entry) {
  const way = chosenRadio("show");
  const part = entry.value.subarray(0, shownBytes(entry));
  const isCut = part.length < entry.size;
  $("value").dataset.way = way;
  $("value").replaceChildren(...elementsOf(way, part, isCut));
  const isFull = part.length >= SHOWN_BYTES_MAX;
  const cut = `The first ${size(part.length)} of ${size(entry.size)}.${isFull ? " Download has all." : ""}`;
  setNote("value-note", isCut ? cut : part.length ? "" : "The value is empty.");
  $("value-more").hidden = !isCut || isFull;
  $("value-more").disabled = false;
}

function elementsOf(way, part, isCut) {
  if (way === "hex") return inBlocks([...dump(part, isPhone() ? 8 : 16)]);
  const text = textOfPart(part, isCut);
  if (way === "json") return Array.from(pretty(text), drawPiece);
  return Array.from(blocks(text), (block) => make("div", "block", ...Array.from(textPieces(block), drawPiece)));
}

/** Return elements for the pieces of a dump, many lines in each. */
function inBlocks(pieces) {
  const each = 4 * 64; // a line has four pieces
  const count = Math.ceil(pieces.length / each);
  return Array.from({ length: count }, (_, at) =>
    make("div", "block", ...pieces.slice(at * each, (at + 1) * each).map(drawPiece)),
  );
}

/** Return the elements for the beginning of a value. */
export function preview(value, isAll = true) {
  const part = value.subarray(0, PREVIEW_BYTES);
  const isCut = part.length < value.length || !isAll;
  const more = isCut ? "\n…" : "";
  if (waysToShow(part, !isCut)[0] === "hex") return [...Array.from(dump(part, 16), drawPiece), more];
  return [...Array.from(textPieces(textOfPart(part, isCut)), drawPiece), more];
}

/** Return the text for the clipboard, as the value is shown: text, or the bytes in hex. */
export function copyText(value) {
  const text = chosenRadio("show") === "hex" ? null : textOf(value);
  return text ?? Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

