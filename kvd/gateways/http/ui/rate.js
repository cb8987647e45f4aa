// The changes per second in the last minute.

import { drawBars } from "./chart.js";
import { $ } from "./dom.js";
import { serverTime } from "./gateway.js";
import { number } from "./words.js";

const SECONDS = 60;
const LEAST = 5; // the minimum of the chart's scale
const counted = new Map(); // a second of the daemon's clock -> number of changes

export function tally(ms) {
  const second = Math.floor(ms / 1000);
  counted.set(second, (counted.get(second) ?? 0) + 1);
}

export function showRate() {
  const now = Math.floor(serverTime() / 1000);
  for (const second of counted.keys()) if (second <= now - SECONDS) counted.delete(second);
  const counts = Array.from({ length: SECONDS }, (_, at) => counted.get(now - SECONDS + 1 + at) ?? 0);
  const [rate, peak] = [counts.at(-2), Math.max(...counts)]; // of the last complete second
  drawBars($("chart"), counts, LEAST);
  $("rate").textContent = number(rate);
  $("peak").textContent = peak ? `, ${number(peak)} at most` : "";
  $("chart").ariaLabel = `Changes per second in the last 60 seconds: ${rate} now, ${peak} at most`;
}
