// Copying.

import { say } from "./dialogs.js";
import { make } from "./dom.js";

/** Copy a text, and say so. Without HTTPS a browser has no clipboard for pages, except on localhost: then by a field. */
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
