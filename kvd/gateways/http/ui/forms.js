// The text forms of bytes in the editor. Pure.
//
// `write` returns the text of bytes, or null if the form cannot represent them; `read` returns the bytes of a text.

import { bytesOf, encode, hexOf, idOf, textOf, unpercent } from "./bytes.js";

// In Chromium, a keystroke in a line of 32,000 non-Latin characters takes 150 ms, and in one of 1,000,000 it takes 6 s.
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

/** Return bytes as text with "\n", and the line end; null if a textarea would change the line ends. */
export function linesOf(bytes) {
  const text = textOf(bytes);
  if (text === null) return null;
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.replaceAll(eol, "\n");
  if (lines.includes("\r") || lines.replaceAll("\n", eol) !== text) return null;
  return { text: lines, eol };
}

/** Return whether a text has a line that is too long for a textarea. */
export function hasLongLine(text) {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\n", at);
    const next = end < 0 ? text.length : end;
    if (next - at > LINE_CHARACTERS_MAX && BEYOND_LATIN.test(text.slice(at, next))) return true;
    at = next + 1;
  }
  return false;
}
