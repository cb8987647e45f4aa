// Keys that work everywhere on the page: / to search, Escape to undo one step.

import { $ } from "./dom.js";
import * as editor from "./editor.js";
import * as find from "./find.js";
import { go } from "./router.js";
import { isSelecting, setSelecting } from "./selection.js";

function onKey(event) {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.closest("input:not([type=radio]), textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape") {
    event.preventDefault();
    takeBack(event.target);
  }
}

/** Undo one step: the selection, the search, the draft, or the open entry. */
function takeBack(target) {
  if (isSelecting()) return setSelecting(false);
  if (target === $("search") && find.reset()) return;
  if (editor.hasDraft()) return editor.cancel();
  if (location.hash.startsWith("#/key/")) {
    go("#");
    $("search").focus();
  }
}

export const listen = () => document.addEventListener("keydown", onKey);
