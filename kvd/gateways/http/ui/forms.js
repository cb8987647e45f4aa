// How bytes stand in the editor, and how they are read back. Pure.
//
// `write` returns the text of bytes, or null for bytes that the form cannot hold; `read` returns the bytes of a text.

import { bytesOf, encode, hexOf, idOf, textOf, unpercent } from "./bytes.js";

// A key pressed in a line of 32,000 characters that are not Latin takes Chromium 150 ms, in one of 1,000,000 it takes 6 s.
// In a Latin line of 262,144 characters it takes 50 ms.
const LINE_CHARACTERS_MAX = 32 * 1024;
const BEYOND_LATIN = /[\u0100-\uffff]/;

export const FORMS = {
  text: { write: (bytes) => linesOf(bytes)?.text ?? null, read: (text, eol) => encode(text.replaceAll("\n", eol)) },
  hex: {
    write: (bytes) =>
      Array.from(bytes, hexOf)
        .join(" ")
        .replace(/(.{47}) /g, "$1\n"),
    read: readHex,
  },
  base64: { write: (bytes) => btoa(idOf(bytes)).replace(/.{76}/g, "$&\n"), read: readBase64 },
};

function readHex(text) {
  const digits = text.replace(/\s/g, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error("Hex is pairs of the digits 0 to 9 and a to f.");
  return bytesOf(unpercent(digits.replace(/../g, "%$&")));
}

function readBase64(text) {
  try {
    return bytesOf(atob(text));
  } catch {
    throw new Error("This is not base64.");
  }
}

/** Return bytes as text with "\n" alone, and its line end; null for text whose line ends a textarea would change. */
export function linesOf(bytes) {
  const text = textOf(bytes);
  if (text === null) return null;
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.replaceAll(eol, "\n");
  if (lines.includes("\r") || lines.replaceAll("\n", eol) !== text) return null;
  return { text: lines, eol };
}

/** Return whether a text has a line that a textarea takes too long to lay out. */
export function hasLongLine(text) {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\n", at);
    const next = end < 0 ? text.length : end;
    if (next - at > LINE_CHARACTERS_MAX && BEYOND_LATIN.test(text.slice(at, next))) return true;
    at = next + 1;
  }
  return false;
}
