// The keys: one table for what they do and for the help that lists them.

import { element } from "./element.js";

const help = document.getElementById("help");

/** Listen for keys. Each row: [keys as the browser names them, keys as people write them, what it does, action]. */
export function listen(rows) {
  const actions = new Map(rows.flatMap(([keys, , , action]) => keys.map((key) => [key, action])));
  buildHelp(rows);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.matches("input, select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    // Enter and space press the button that has the focus.
    if (target.matches("button, a") && (event.key === "Enter" || event.key === " ")) return;
    const action = actions.get(nameOf(event));
    if (action && action(event) !== false) event.preventDefault();
  });
}

// Shift is part of how "?" and "+" are typed, so it is named with arrows alone.
function nameOf(event) {
  const arrow = event.key.startsWith("Arrow");
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return `${event.altKey ? "Alt+" : ""}${event.shiftKey && arrow ? "Shift+" : ""}${name}`;
}

function buildHelp(rows) {
  const entries = rows
    .filter(([, written]) => written)
    .flatMap(([, written, meaning]) => [
      element("dt", {}, ...written.split(" ").map((key) => element("kbd", {}, key))),
      element("dd", {}, meaning),
    ]);
  help.replaceChildren(
    element("h2", { id: "help-title" }, "Keys"),
    element("dl", {}, ...entries),
    element(
      "p",
      { class: "close" },
      element("button", { type: "button", class: "primary", onclick: () => help.close() }, "Close"),
    ),
  );
}

export const showHelp = () => help.showModal();
