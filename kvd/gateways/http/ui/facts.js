// Formats the fields of INFO for people. Pure.

import { date, duration, micro, number, plural, size } from "./words.js";

// Names that would be misleading without their section.
const LABELS = { "server.keys": "CURVE keys needed", "latency.us": "total time", "process.started": "started" };
const SPREAD = /^below_(\d+)_us$/;
const LATE_SHARE = 0.99;

export const isSpread = (name) => SPREAD.test(name);

export const labelOf = (section, name) =>
  LABELS[`${section}.${name}`] ?? name.replace(/_(bytes|ms|us)(?=_|$)/, "").replaceAll("_", " ");

export function describe(name, value) {
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "started") return date(value);
  if (Array.isArray(value)) return value.join(", ") || "–";
  if (typeof value === "object") return describeMap(value);
  return typeof value === "number" ? describeNumber(name, value) : String(value);
}

function describeMap(value) {
  if ("mean_us" in value) return `${plural(value.calls, "call")}, ${micro(value.mean_us)} each`;
  const parts = Object.entries(value).map(([key, each]) => `${key} ${describe(key, each)}`);
  return parts.join(", ") || "–";
}

function describeNumber(name, value) {
  if (/(^|_)bytes|disk_free/.test(name)) return size(value);
  if (/_ms$/.test(name)) return duration(value);
  if (/(^|_)us$/.test(name)) return micro(value);
  return /pid|protocol/.test(name) ? String(value) : number(value);
}

/** Return the histogram of request times, [{bound (microseconds), count}], from the cumulative counts. */
export function spreadOf(found) {
  const below = Object.entries(found)
    .filter(([name]) => isSpread(name))
    .map(([name, count]) => ({ bound: Number(name.match(SPREAD)[1]), count }));
  below.sort((one, other) => one.bound - other.bound);
  return below.map(({ bound, count }, at) => ({ bound, count: count - (at ? below[at - 1].count : 0) }));
}

/** Return the upper bound for 99 of 100 requests; null without requests. */
export function lateBound(latency) {
  const spread = spreadOf(latency);
  const total = spread.reduce((sum, { count }) => sum + count, 0);
  let seen = 0;
  for (const { bound, count } of spread) {
    seen += count;
    if (total && seen >= total * LATE_SHARE) return bound;
  }
  return null;
}

/** Return the most important facts: [name, text, explanation]. */
export function headlines(info, before, seconds) {
  const { store = {}, server = {}, process = {}, traffic = {}, latency = {} } = info;
  const late = lateBound(latency);
  return [
    ["Keys", number(store.keys ?? 0), "that exist now"],
    ["Commands per second", rate(latency.requests, before?.latency?.requests, seconds), "since the last update of this page"],
    ["99 of 100 requests within", late === null ? "–" : micro(late), "in the daemon, since it started"],
    ["Memory", size(process.memory_bytes ?? server.memory_bytes ?? 0), "of the daemon's process"],
    ["Free on the disk", size(store.disk_free ?? 0), "where the data is"],
    ["Clients", number(traffic.clients ?? 0), "connections for commands, gateways among them"],
    ["Watchers", number(traffic.watchers ?? 0), "connections that follow changes"],
    ["Up for", duration(server.uptime_ms ?? 0), process.started ? `since ${date(process.started)}` : ""],
    ["Writes are synced", { always: "before the answer", interval: "every 100 ms", never: "by the system" }[server.fsync] ?? "–", `fsync = ${server.fsync}`],
    ["Version", server.version ?? "–", `SQLite ${server.sqlite}, Python ${server.python}`],
  ];
}

function rate(now, before, seconds) {
  if (before === undefined || !seconds || now < before) return "–";
  return number(Math.round((now - before) / seconds));
}

/** Return shell commands that connect to this daemon, through this gateway and through the endpoints of INFO. */
export function connections({ server = {} }, origin) {
  return [`curl ${origin}/kv/KEY`, ...(server.commands ?? []).map((endpoint) => `kvsh --url ${endpoint}`)];
}

/** Return the warnings. */
export function warnings({ server = {}, store = {}, process = {} }) {
  const found = [];
  if (server.read_only) found.push(`The daemon refuses writes: ${server.read_only}.`);
  if (store.disk_is_short) found.push("The disk is nearly full: free some space, or clear keys.");
  if (process.memory_is_tight) found.push("Memory is tight: large replies are refused for now.");
  return found;
}
