// The clipboard.

import { say } from "./dialogs.js";
import { make } from "./dom.js";

/** Copy a text, and report it. Browsers give a page the clipboard only over HTTPS or on localhost; else use a field. */
export async function copy(text, what) {
  const isCopied = await (navigator.clipboard?.writeText(text).then(() => true, () => false) ?? false);
  say(isCopied || copyByField(text) ? `${what} is copied.` : "The browser does not allow copying: select the text.");
}

function copyByField(text) {
  const field = make("textarea", "unseen");
  const before = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  before?.focus();
  return isDone;
}
