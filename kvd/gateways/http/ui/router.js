// Views. The fragment of the URL selects the view, so that Back works and a key has an address.

import { percent, unpercent } from "./bytes.js";
import { dismiss } from "./dialogs.js";
import { $ } from "./dom.js";

// The panes in the middle, and the view that each belongs to in the tabs and in the phone's layout.
const DETAILS = ["entry", "missing", "editor", "info", "slowlog", "clients"];
const VIEWS = { "": "keys", key: "detail", new: "detail", changes: "changes", info: "info", slowlog: "info", clients: "info" };

let place = null;
let routes = {};
let mayLeave = async () => true;

export const addressOf = (id) => `#/key/${percent(id)}`;

/** Go to an address; the present one is opened again. */
export function go(hash) {
  if (hash === (location.hash || "#")) route(true);
  else location.hash = hash;
}

export async function route(isForced) {
  const hash = location.hash;
  if (hash === place && isForced !== true) return;
  dismiss();
  if (!(await mayLeave())) {
    location.hash = place;
    return;
  }
  place = hash;
  const [, name = "", rest] = hash.split("/");
  const isKnown = name in VIEWS && (name !== "key" || rest);
  const view = isKnown ? name : "";
  showView(VIEWS[view]);
  document.title = "kvd";
  routes[view === "changes" ? "" : view](rest === undefined ? null : unpercent(rest));
}

function showView(view) {
  document.body.dataset.view = view;
  const current = view === "detail" ? "keys" : view;
  for (const tab of document.querySelectorAll(".tabs a")) {
    tab.ariaCurrent = tab.dataset.view === current ? "page" : null;
  }
}

/** Show one pane of the middle. */
export function showDetail(id) {
  for (const each of DETAILS) $(each).hidden = each !== id;
  for (const link of document.querySelectorAll(".pages a")) link.ariaCurrent = link.dataset.pane === id ? "page" : null;
  $("detail").scrollTop = 0;
}

/** Start, with a function that opens each view, and one that returns whether the present view may be left. */
export function start(functions, guard) {
  [routes, mayLeave] = [functions, guard];
  addEventListener("hashchange", route);
  route(true);
}
