// Tell the user: in a live region that screen readers read, and as notices that stay until they are read.

import { element } from "./element.js";

const live = document.getElementById("live");
const shelf = document.getElementById("notices");
const MOST = 4;

/** Say something to screen readers only: what the page already shows. */
export function announce(text) {
  // The same text twice in a row would not be read again.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/**
 * Show a notice. One with an action, or a problem, stays until it is dismissed; the others go after some seconds.
 * A notice replaces an earlier one of the same `about`.
 */
export function notify(text, { problem = false, action = null, label = "", about = text } = {}) {
  dismiss(about);
  const close = () => notice.remove();
  const notice = element(
    "div",
    { class: problem ? "notice problem" : "notice", role: problem ? "alert" : "status", "data-about": about },
    element("p", {}, text),
    action && element("button", { type: "button", onclick: () => (close(), action()) }, label),
    element("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: close }, "×"),
  );
  shelf.append(notice);
  while (shelf.children.length > MOST) shelf.firstElementChild.remove();
  if (!action && !problem) setTimeout(close, 6000);
}

/** Take a notice away, because what it says holds no more. */
export function dismiss(about) {
  for (const notice of [...shelf.children]) if (notice.dataset.about === about) notice.remove();
}
