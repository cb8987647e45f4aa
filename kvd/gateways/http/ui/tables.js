// The tables of the slow log and of the connected clients. Each is read when opened, and on Refresh.

import { idFromJson, keyText } from "./bytes.js";
import { on } from "./bus.js";
import { $, make, setNote } from "./dom.js";
import { run, sentence, serverTime } from "./gateway.js";
import { addressOf, showDetail } from "./router.js";
import { clock, date, duration, micro, number } from "./words.js";

const SLOW_COMMANDS = 100;

/** Show the slow log. */
export async function openSlowlog() {
  showDetail("slowlog");
  await fill("slowlog", { command: "SLOWLOG", count: SLOW_COMMANDS }, slowRow, "No command was slow.");
}

/** Show the clients. */
export async function openClients() {
  showDetail("clients");
  await fill("clients", { command: "CLIENTS" }, clientRow, "No client is connected.");
}

let failed = null; // reopens the page that failed

async function fill(name, command, row, none) {
  failed = null;
  try {
    const found = await run(command);
    $(`${name}-rows`).replaceChildren(...found.map(row));
    $(`${name}-table`).hidden = found.length === 0;
    setNote(`${name}-note`, found.length ? "" : none);
  } catch (error) {
    failed = { slowlog: openSlowlog, clients: openClients }[name];
    $(`${name}-table`).hidden = true;
    setNote(`${name}-note`, sentence(error));
  }
}

const cell = (className, ...children) => make("td", className, ...children);

function slowRow({ time, us, command, key, keys, who }) {
  const when = cell("", clock(time));
  when.title = date(time);
  return make("tr", "", when, cell("amount", micro(us)), cell("", command), keyCell(key, keys), cell("", who || "–"));
}

function keyCell(said, keys) {
  if (said === null || said === undefined || said === "") return cell("key", "–");
  const id = idFromJson(said);
  const link = make("a", "", keyText(id));
  link.href = addressOf(id);
  return cell("key", link, keys > 1 ? ` and ${number(keys - 1)} more` : "");
}

function clientRow({ socket, transport, address, pid, uid, since }) {
  const where = address || `process ${pid ?? "–"}, user ${uid ?? "–"}`;
  const age = cell("amount", duration(Math.max(0, serverTime() - since)));
  age.title = date(since);
  return make("tr", "", cell("", where), cell("", transport), cell("", socket), age);
}

/** Reopen a failed page when the daemon is back, if the page is still in view. */
function retry() {
  const isShown = !$("slowlog").hidden || !$("clients").hidden;
  if (isShown) failed?.();
}

export function listen() {
  on("back", retry);
  $("slowlog-again").addEventListener("click", openSlowlog);
  $("clients-again").addEventListener("click", openClients);
}

