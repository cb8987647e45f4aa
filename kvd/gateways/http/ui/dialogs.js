// Questions and messages.

import { $, setNote } from "./dom.js";

const SAID_MS = 8000;
export const TOKEN = "kvd-token";

let timer;
/** Show a message for some seconds. */
export function say(text) {
  $("toast").textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => ($("toast").textContent = ""), SAID_MS);
}

let decide = null;
/** Ask a question; Esc, or another view, means no. */
export function askToConfirm(question, { yes, no, isDanger = false, list = [] }) {
  decide?.(false);
  $("confirm-text").textContent = question;
  $("confirm-list").replaceChildren(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  $("confirm-list").hidden = list.length === 0;
  $("confirm-yes").textContent = yes;
  $("confirm-yes").className = isDanger ? "danger" : "strong";
  $("confirm-no").textContent = no;
  $("confirm").showModal();
  $("confirm-no").focus();
  return new Promise((done) => {
    decide = (answer) => {
      decide = null;
      $("confirm").close(); // its event arrives later, when the next question may be open
      done(answer);
    };
  });
}

/** Answer the open question with no, because its subject is no longer in view. */
export const dismiss = () => decide?.(false);

let asking = null;
/** Ask for a token, once for all waiting requests; `refused` is the token that was sent. */
export function askToken(refused) {
  if (sessionStorage.getItem(TOKEN) !== refused) return null; // another request has asked already
  asking ??= new Promise((done) => {
    setNote("login-error", refused === null ? "" : "This token is not valid, or no longer valid.");
    $("token").value = "";
    $("login").showModal();
    $("login").querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      asking = null;
      $("login").close();
      done();
    };
  });
  return asking;
}

export function listen() {
  $("confirm").addEventListener("submit", (event) => {
    event.preventDefault();
    decide?.(true);
  });
  $("confirm").addEventListener("cancel", dismiss);
  $("confirm-no").addEventListener("click", dismiss);
  $("login").addEventListener("close", () => asking && $("login").showModal()); // the page needs a token
}
