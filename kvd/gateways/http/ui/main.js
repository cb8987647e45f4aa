// The page of kvd's HTTP gateway: keys, one entry, changes as they come, and the state of the daemon. This file connects its parts.
//
// A file imports only files above it in this list, which ends with the visible parts:
//
//   bytes words sse forms levels      pure
//   search values facts               pure, on those
//   dom bus chart                     the document, events between parts
//   dialogs clipboard gateway entries router
//   rows list tree selection find     the keys on the left
//   value entry editor                the middle
//   rate feed history                 changes
//   info tables keyboard main

import { on } from "./bus.js";
import * as dialogs from "./dialogs.js";
import { $ } from "./dom.js";
import * as editor from "./editor.js";
import * as entry from "./entry.js";
import * as feed from "./feed.js";
import * as find from "./find.js";
import * as history from "./history.js";
import * as info from "./info.js";
import * as keyboard from "./keyboard.js";
import { showRate } from "./rate.js";
import { showDetail, start } from "./router.js";
import * as selection from "./selection.js";
import * as tables from "./tables.js";

const ROUTES = {
  "": closing(() => showDetail("info")),
  info: closing(() => showDetail("info")),
  key: openKey,
  new: closing(() => editor.startNew()),
  slowlog: closing(tables.openSlowlog),
  clients: closing(tables.openClients),
};

/** Return a function that opens a view instead of the entry. */
function closing(open) {
  return () => {
    editor.leave();
    entry.leave();
    open();
  };
}

function openKey(id) {
  editor.leave();
  entry.openKey(id);
}

for (const part of [dialogs, editor, entry, feed, find, history, keyboard, selection, tables]) part.listen();
on("change", (change) => editor.follow(change) || entry.follow(change));
$("edit").addEventListener("click", () => editor.start(entry.openEntry()));
$("create").addEventListener("click", () => editor.startNew(entry.missingKey()));
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && info.look());
setInterval(() => {
  entry.showExpiry();
  showRate();
}, 1000);

showRate();
start(ROUTES, editor.mayLeave);
find.find();
feed.follow();
info.keepLooking();
