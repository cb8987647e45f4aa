// Keys and their values, as the gateway's API has them.

import { bytesOf, fromJson, idFromJson, idToJson, percent, toJson } from "./bytes.js";
import { ask, run } from "./gateway.js";

export const PART_BYTES = 256 * 1024; // of a value, per request

// fetch() removes "." and ".." from a path, even as %2E: requests for these two keys are sent as commands.
const isDots = (id) => id === "." || id === "..";
const revisionOf = (response) => Number(response.headers.get("ETag").replace(/\D/g, ""));

/** Return the bytes of a value from `start` on, PART_BYTES at most: {id, value, start, size, revision, expires}; or null. */
export async function readPart(id, start, signal) {
  if (isDots(id)) return readPartByCommand(id, start, signal);
  const headers = { Range: `bytes=${start}-${start + PART_BYTES - 1}` };
  try {
    return await partOf(id, await ask(`kv/${percent(id)}`, { headers, signal }));
  } catch (error) {
    if (error.status === 404) return null;
    if (error.status === 416) return readEmpty(id, signal);
    throw error;
  }
}

async function partOf(id, response) {
  const expires = response.headers.get("Kvd-Expires");
  const value = new Uint8Array(await response.arrayBuffer());
  const [, first, size] = response.headers.get("Content-Range")?.match(/(\d+)-\d+\/(\d+)/) ?? [null, 0, value.length];
  const facts = { revision: revisionOf(response), expires: expires && Number(expires) };
  return { id, value, start: Number(first), size: Number(size), ...facts };
}

/** Return a value without bytes in the requested range: it is empty, or has become shorter. */
async function readEmpty(id, signal) {
  const found = await run({ command: "ENTRY", key: idToJson(id) }, signal);
  return found && { ...found, id, value: new Uint8Array(), start: 0 };
}

async function readPartByCommand(id, start, signal) {
  const found = await run({ command: "ENTRY", key: id, value: true, start, end: start + PART_BYTES - 1 }, signal);
  return found && { ...found, id, start, value: fromJson(found.value) };
}

/** Return a whole value as a Blob; null if the key no longer exists. */
export async function readBlob(id) {
  if (isDots(id)) {
    const found = await run({ command: "GET", key: id });
    return found && new Blob([fromJson(found)]);
  }
  try {
    return await (await ask(`kv/${percent(id)}`)).blob();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Set a key if its revision is still `base`; 0: if it does not exist. */
export async function writeKey(id, value, base, ttl) {
  if (isDots(id)) {
    const ms = ttl && Math.ceil(ttl * 1000);
    return run({ command: "SET", key: id, value: toJson(value), ttl: ms, revision: base });
  }
  const headers = base ? { "If-Match": `"${base}"` } : { "If-None-Match": "*" };
  return ask(`kv/${percent(id)}${ttl ? `?ttl=${ttl}` : ""}`, { method: "PUT", headers, body: value });
}

/** Return the command that clears a key if its revision is still `base`. */
export const clearCommand = (id, base) => ({
  command: "TRANSACTION",
  conditions: [[idToJson(id), base]],
  commands: [{ command: "CLEAR", keys: [idToJson(id)] }],
});

export async function clearKey(id, base) {
  if (isDots(id)) return run(clearCommand(id, base));
  return ask(`kv/${percent(id)}`, { method: "DELETE", headers: { "If-Match": `"${base}"` } });
}

/** Return a page of keys: {revision, items: [{id, size, revision, expires}], next}. */
export async function listKeys(prefix, after, limit, signal) {
  const from = after === null ? "" : `&after=${percent(after)}`;
  const path = `kv?prefix=${percent(prefix)}${from}&limit=${limit}&sizes=1`;
  const page = await (await ask(path, { signal })).json();
  return { ...page, items: page.items.map(itemOf), next: page.next === null ? null : idFromJson(page.next) };
}

const itemOf = ({ key, ...facts }) => ({ ...facts, id: idFromJson(key) });

/** Return a page of keys from `start` on. */
export async function scanFrom(prefix, start, limit, signal) {
  const command = { command: "SCAN", prefix: idToJson(prefix), limit, sizes: true };
  if (start !== null) command.start = idToJson(start);
  const [items, next] = await run(command, signal);
  const named = items.map(([key, size, revision, expires]) => ({ id: idFromJson(key), size, revision, expires }));
  return { items: named, next: next === null ? null : idFromJson(next) };
}

export const countKeys = (prefix, signal) => run({ command: "COUNT", prefix: toJson(bytesOf(prefix)) }, signal);
