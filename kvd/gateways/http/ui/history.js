// The history of the open key: its stored changes, newest first, in pages.

import { fromJson, idToJson } from "./bytes.js";
import { on } from "./bus.js";
import { copy } from "./clipboard.js";
import { $, make, setNote } from "./dom.js";
import { openEntry } from "./entry.js";
import { run, sentence } from "./gateway.js";
import { copyText, preview } from "./value.js";
import { glance } from "./values.js";
import { date, number, plural, shortSize } from "./words.js";

const PAGE_CHANGES = 20;

let shown = null; // {id, before}
let reading = new AbortController();

function close() {
  reading.abort();
  shown = null;
  $("history").hidden = true;
  $("history-open").ariaExpanded = "false";
  $("history-rows").replaceChildren();
}

async function toggle() {
  if (shown) return close();
  shown = { id: openEntry().id, before: null };
  $("history").hidden = false;
  $("history-open").ariaExpanded = "true";
  await more();
  $("history").scrollIntoView({ block: "nearest" });
}

async function more() {
  const mine = shown;
  mine.isFailed = false;
  reading = new AbortController();
  $("history-more").disabled = true;
  try {
    const command = { command: "HISTORY", key: idToJson(mine.id), limit: PAGE_CHANGES };
    if (mine.before !== null) command.before = mine.before;
    const [changes, next] = await run(command, reading.signal);
    if (mine !== shown) return;
    mine.before = next;
    $("history-rows").append(...changes.map(rowOf));
    showEnd(next);
  } catch (error) {
    if (mine !== shown) return;
    mine.isFailed = true;
    setNote("history-note", sentence(error));
  }
  $("history-more").disabled = false;
}

function showEnd(next) {
  const count = $("history-rows").childElementCount;
  $("history-more").hidden = next === null;
  if (next === null) setNote("history-note", `${plural(count, "change")}. Older changes do not exist, or are no longer stored.
`);
  else setNote("history-note", count ? "" : "None among the changes that were read so far.");
}

/** A change as the wire has it: an array. */
function rowOf([kind, revision, , value, , expires, time]) {
  const facts = [make("span", `kind ${kind.toLowerCase()}`, kind.toLowerCase()), make("time", "", date(time))];
  facts.push(make("span", "revision", `revision ${number(revision)}`));
  if (expires) facts.push(make("span", "", `expires ${date(expires)}`));
  if (kind !== "SET" || value === null) return make("li", kind.toLowerCase(), make("p", "facts-of", ...facts));
  const bytes = fromJson(value);
  facts.push(make("span", "", shortSize(bytes.length)));
  const summary = make("summary", "", make("span", "facts-of", ...facts), make("span", "text", glance(value)));
  const details = make("details", "", summary);
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && details.append(...body(bytes)));
  return make("li", "set", details);
}

function body(bytes) {
  const value = make("pre", "value", ...preview(bytes));
  value.tabIndex = 0;
  const button = make("button", "", "Copy value");
  button.type = "button";
  button.addEventListener("click", () => copy(copyText(bytes), "The value"));
  return [value, button];
}

export function listen() {
  $("history-open").addEventListener("click", toggle);
  $("history-more").addEventListener("click", more);
  on("back", () => shown?.isFailed && more());
  on("open", (id) => id !== shown?.id && close());
}
