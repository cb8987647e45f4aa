// Requests to the gateway, and the state of the connection.

import { emit } from "./bus.js";
import { askToken, TOKEN } from "./dialogs.js";
import { $ } from "./dom.js";

const ROOT = new URL("..", import.meta.url); // this file is ui/gateway.js, also behind a proxy that adds a prefix
const AWAY = ["UNREACHABLE", "NOT_LET_IN", "NO_REPLY", "OUTCOME_UNKNOWN", "SHUTTING_DOWN"];
const STATES = { waiting: "connecting", open: "connected", broken: "reconnecting", away: "daemon away" };
const CLOCK_MS = 2000; // a Date header has whole seconds, so a smaller difference is not significant

export class Refusal extends Error {
  constructor(status, { code, message, details }) {
    super(message);
    Object.assign(this, { status, code, details: details ?? {} });
  }
}

const link = { stream: "waiting", isDaemonHere: true };
let clockAhead = 0; // how much the gateway's clock is ahead: expiries use the daemon's clock

export const serverTime = () => Date.now() + clockAhead;
export const isDaemonHere = () => link.isDaemonHere;
export const isStreamBroken = () => link.stream === "broken";

/** Note the state of the feed: open or broken. */
export function noteStream(state) {
  link.stream = state;
  showState();
}

function noteDaemon(isHere) {
  const isBack = isHere && !link.isDaemonHere;
  link.isDaemonHere = isHere;
  showState();
  if (isBack) emit("back");
}

function showState() {
  const state = link.isDaemonHere ? link.stream : "away";
  if ($("status").textContent === STATES[state]) return;
  $("status").textContent = STATES[state];
  $("status").dataset.state = state;
}

function noteClock(response) {
  const ahead = Date.parse(response.headers.get("Date")) - Date.now();
  clockAhead = Math.abs(ahead) < CLOCK_MS || Number.isNaN(ahead) ? 0 : ahead;
}

/** Return the message for an error. A write without a reply may have been executed. */
export function sentence(error, isWrite = false) {
  if (!(error instanceof Refusal)) {
    return `The gateway does not answer.${isWrite ? " This may have been executed: check before you repeat it." : ""}`;
  }
  const message = error.message.replace(/^[A-Z]{3,}: /, "").replace(/^./, (first) => first.toUpperCase());
  return /[.!?]$/.test(message) ? message : `${message}.`;
}

/** Send a request; after a 401, ask for a token and retry. Throws a Refusal, or an error of fetch. */
export async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(new URL(path, ROOT), { cache: "no-store", ...options, headers });
    noteClock(response);
    const error = response.ok ? null : await refusalOf(response);
    noteDaemon(!AWAY.includes(error?.code));
    if (!error) return response;
    if (error.status !== 401) throw error;
    await askToken(token);
  }
}

async function refusalOf(response) {
  const unknown = { code: "", message: `The gateway answers ${response.status}` };
  return new Refusal(response.status, await response.json().catch(() => unknown));
}

/** Run a command or an array of commands; return the gateway's reply. */
export async function post(commands, signal) {
  const headers = { "Content-Type": "application/json" };
  const response = await ask("v1/commands", { method: "POST", headers, body: JSON.stringify(commands), signal });
  return response.json();
}

/** Run one command; return its result. */
export const run = async (command, signal) => (await post(command, signal)).result;
