// Conversions of keys and values, which can be any bytes. Pure: no document, no network.
//
// The page stores a key as its `id`: a string with one character for each byte. Ids sort like the bytes.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SEQUENCE = /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\s\S]/g;
// Controls, zero-width spaces and direction marks: they are invisible, so two different keys could look the same.
const UNSEEN = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/u;
const BRIEF_CHARACTERS = 80;

export const encode = (text) => encoder.encode(text);
export const hexOf = (byte) => byte.toString(16).padStart(2, "0");
export const percent = (id) =>
  id.replace(/[^\w.~-]/g, (byte) => `%${hexOf(byte.charCodeAt(0)).toUpperCase()}`);
export const unpercent = (text) =>
  text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
const escapeBytes = (id) => id.replace(/[\s\S]/g, (byte) => `\\x${hexOf(byte.charCodeAt(0))}`);

/** Return the bytes of an id. A loop: Uint8Array.from takes 2 s for 16 MiB. */
export function bytesOf(id) {
  const bytes = new Uint8Array(id.length);
  for (let at = 0; at < id.length; at++) bytes[at] = id.charCodeAt(at);
  return bytes;
}

export function idOf(bytes) {
  let id = "";
  for (let at = 0; at < bytes.length; at += 8192) id += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return id;
}

/** Return bytes as text, or null when they are not UTF-8. */
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Return the text of truncated bytes, without an incomplete character at the end. Null: not UTF-8. */
export function textOfPart(bytes, isCut) {
  if (!isCut) return textOf(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: true });
  } catch {
    return null;
  }
}

// Bytes in the API's JSON: a string, or an object with base64.
export const fromJson = (said) => (typeof said === "string" ? encode(said) : bytesOf(atob(said.base64)));
export const toJson = (bytes) => textOf(bytes) ?? { base64: btoa(idOf(bytes)) };
export const idFromJson = (said) => idOf(fromJson(said));
export const idToJson = (id) => toJson(bytesOf(id));

/** Return the first bytes of a value in the API's JSON. Decoding a large value completely would take a second. */
export function startOfJson(said, length) {
  if (typeof said === "string") return encode(said.slice(0, length + 1)).slice(0, length); // the slice may end within a surrogate pair
  return bytesOf(atob(said.base64.slice(0, Math.ceil(length / 3) * 4))).slice(0, length);
}

/** Return the number of bytes of a value in the API's JSON. */
export function sizeOfJson(said) {
  if (typeof said === "string") return encode(said).length;
  const padding = said.base64.endsWith("==") ? 2 : said.base64.endsWith("=") ? 1 : 0;
  return (said.base64.length / 4) * 3 - padding;
}

/** Return a key for display: bytes that are not UTF-8 or not visible as \xNN. */
export function keyText(id) {
  return id.replace(SEQUENCE, (part) => {
    if (part === "\\") return "\\\\";
    const text = textOf(bytesOf(part));
    return text === null || UNSEEN.test(text) ? escapeBytes(part) : text;
  });
}

/** Return a key for a message, a long one without its middle. */
export function brief(id) {
  const text = Array.from(keyText(id.length > 4 * BRIEF_CHARACTERS ? cutMiddle(id, 4 * BRIEF_CHARACTERS) : id));
  return text.length > BRIEF_CHARACTERS ? cutMiddle(text.join(""), BRIEF_CHARACTERS, "…") : text.join("");
}

function cutMiddle(text, length, mark = "") {
  const half = length / 2;
  return text.slice(0, half) + mark + text.slice(-half);
}

/** Return the id of a key as a person types it: the inverse of `keyText`. */
export function parseKey(text) {
  const byteOf = (_, hex) => (hex ? String.fromCharCode(Number.parseInt(hex, 16)) : "\\");
  return idOf(encode(text)).replace(/\\\\|\\x([0-9a-f]{2})/gi, byteOf);
}
