// Determines the kind of a value, and formats it as JSON, text or hex. Pure: returns pieces [class, text] for value.js.

import { fromJson, hexOf, idOf, textOfPart } from "./bytes.js";

const BLOCK_CHARACTERS = 4 * 1024;
const BLOCK_PIECES = 400;
const INDENTS_MAX = 40;
const GLANCE_CHARACTERS = 160;
// Characters that change the direction of text, and line ends other than "\n".
const TURNING = /([\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])/;

/** Return the possible forms of the loaded part of a value, the best one first. */
export function waysToShow(part, isWhole) {
  const text = textOfPart(part, !isWhole);
  if (text === null) return ["hex"];
  if (isWhole && /^\s*[[{]/.test(text) && isJson(text)) return ["json", "text", "hex"];
  return /[\x00-\x08\x0e-\x1f]/.test(text) ? ["hex", "text"] : ["text", "hex"];
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Yield the pieces of a text. Direction marks are shown as escapes. */
export function* textPieces(text) {
  for (const [at, piece] of text.split(TURNING).entries()) {
    if (at % 2) yield ["escape", `\\u${piece.charCodeAt(0).toString(16).padStart(4, "0")}`];
    else if (piece) yield ["", piece];
  }
}

/** Return the beginning of a value in the API's JSON, on one line. */
export function glance(said) {
  if (said === undefined || said === null) return "";
  if (typeof said === "string") return textOf(textPieces(said.slice(0, GLANCE_CHARACTERS)));
  return Array.from(fromJson({ base64: said.base64.slice(0, 64) }), hexOf).join(" ");
}

const textOf = (pieces) => Array.from(pieces, ([, text]) => text).join("");

export const hasTurning = (text) => TURNING.test(text);

/** Yield groups of pieces, one for each block, cut at line ends if possible: a browser lays out only visible blocks. */
export function* groups(pieces) {
  let [group, count] = [[], 0];
  for (const piece of pieces) {
    group.push(piece);
    count += piece[1].length;
    const isFull = count >= BLOCK_CHARACTERS || group.length >= BLOCK_PIECES;
    if (!isFull || !(piece[1].endsWith("\n") || count >= 2 * BLOCK_CHARACTERS)) continue;
    yield group;
    [group, count] = [[], 0];
  }
  if (group.length) yield group;
}

/** Yield a text in parts, cut at line ends if possible. */
export function* parts(text) {
  for (let at = 0; at < text.length; ) {
    const end = blockEnd(text, at);
    yield text.slice(at, end);
    at = end;
  }
}

function blockEnd(text, at) {
  const most = at + BLOCK_CHARACTERS;
  if (most >= text.length) return text.length;
  const line = text.lastIndexOf("\n", most - 1) + 1;
  if (line > at) return line;
  const isPair = /[\ud800-\udbff]/.test(text[most - 1]);
  return isPair ? most - 1 : most;
}

/** Yield the pieces of a hex dump: offset, bytes and characters on each line. */
export function* dump(bytes, width) {
  for (let at = 0; at < bytes.length; at += width) {
    const line = bytes.subarray(at, at + width);
    const hex = Array.from(line, hexOf)
      .join(" ")
      .padEnd(width * 3 - 1);
    yield ["offset", at.toString(16).padStart(6, "0")];
    yield ["", `  ${hex}  `];
    yield ["seen", idOf(line).replace(/[^ -~]/g, "·")];
    yield ["", "\n"];
  }
}

/** Yield the pieces of indented JSON. The tokens are kept, because JSON.stringify would round large numbers. */
export function* pretty(text) {
  let depth = 0;
  let isFresh = false; // directly after a bracket
  const indent = () => ["", "  ".repeat(Math.min(depth, INDENTS_MAX))];
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[[\]{},]|[^\s[\]{},":]+/g)) {
    const isClosing = "]}".includes(token);
    if (isClosing) depth--;
    if (isFresh !== isClosing) yield* [["", "\n"], indent()];
    isFresh = "[{".includes(token);
    if (isFresh) depth++;
    if (token === ",") yield* [["", ",\n"], indent()];
    else yield* tokenPieces(string ?? token, colon, string);
  }
}

function* tokenPieces(token, isName, isString) {
  if (isName) yield* [["name", token], ["", ": "]];
  else if (isString) yield* textPieces(token);
  else yield ["[]{}".includes(token) ? "" : "atom", token];
}

// File types by their first bytes: media type, extension.
const SIGNATURES = [
  [/^\x89PNG\r\n\x1a\n/, "image/png", "png"],
  [/^\xff\xd8\xff/, "image/jpeg", "jpg"],
  [/^GIF8[79]a/, "image/gif", "gif"],
  [/^RIFF[\s\S]{4}WEBP/, "image/webp", "webp"],
  [/^%PDF-/, "application/pdf", "pdf"],
  [/^PK\x03\x04/, "application/zip", "zip"],
  [/^\x1f\x8b/, "application/gzip", "gz"],
  [/^SQLite format 3\0/, "application/vnd.sqlite3", "sqlite"],
];
const BY_WAY = { json: ["application/json", "json"], text: ["text/plain", "txt"], hex: ["application/octet-stream", "bin"] };

/** Return the media type of a value and the usual file extension. */
export function kindOf(part, isWhole) {
  const start = idOf(part.subarray(0, 16));
  const known = SIGNATURES.find(([signature]) => signature.test(start));
  return known ? known.slice(1) : BY_WAY[waysToShow(part, isWhole)[0]];
}

/** Return a file name for the value of a key: safe in any file system, with a suitable extension. */
export function fileName(key, ending) {
  const name = key.replace(/[^\w.-]+/g, "_").replace(/^\.+/, "_").slice(-100) || "value";
  return /\.[A-Za-z]\w{0,5}$/.test(name) ? name : `${name}.${ending}`;
}
