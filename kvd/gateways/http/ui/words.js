// Formats numbers, sizes and times for people. Pure.

export const number = (value) => value.toLocaleString("en");
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
export const date = (ms) => new Date(ms).toLocaleString("en-GB");

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let [left, at] = [bytes, 0];
  for (; left >= 1024 && at < UNITS.length - 1; at++) left /= 1024;
  if (at === 0) return plural(left, "byte");
  return `${left.toFixed(left < 10 ? 1 : 0)} ${UNITS[at]}`;
}

/** Return a size for a narrow column: 172 B, 4.1 KiB. */
export const shortSize = (bytes) => size(bytes).replace(/ bytes?$/, " B");

export function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 1) return `${ms} ms`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** Return a time to live for a narrow column: its largest unit. */
export function shortDuration(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

export function micro(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${(us / 1000).toFixed(1)} ms` : duration(us / 1000);
}
