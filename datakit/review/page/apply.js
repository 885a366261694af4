// The Apply button: write what was changed, show how far it is, and say what came of it.

import { whenSaved } from "./edits.js";
import { element } from "./element.js";
import { announce, notify } from "./notices.js";
import { dataset, lookOf, samples } from "./samples.js";
import { getApply, startApply } from "./server.js";

const button = document.getElementById("apply");
const reason = document.getElementById("apply-reason");
const progress = document.getElementById("apply-progress");
const bar = document.getElementById("apply-bar");
const count = document.getElementById("apply-count");
const result = document.getElementById("result");

let running = false;
let saving = false;
let reload = async () => {};

/** Set the button up; `onDone` loads the dataset anew. A run that another tab started is shown too. */
export async function buildApply(onDone) {
  reload = onDone;
  button.addEventListener("click", start);
  try {
    const state = await getApply();
    if (state.running) await watch();
  } catch (error) {
    // That there is no run to show is no news; a dead server is told of elsewhere.
    console.debug(error);
  }
}

/** Enable the button where there is something to apply; say why where it is not. */
export function showApply() {
  const waiting = dataset.editable ? samples.filter((sample) => lookOf(sample).waits).length : 0;
  const why = whyNot(waiting);
  button.disabled = Boolean(why);
  button.title = why ?? "Write the changed pictures";
  reason.textContent = why ?? "";
  button.textContent = waiting ? `Apply ${waiting} ${waiting === 1 ? "change" : "changes"}` : "Apply";
}

function whyNot(waiting) {
  if (running) return "The changes are being applied";
  if (!dataset.editable) return readOnlyReason();
  if (saving) return "A change is being saved";
  return waiting ? null : "Nothing to apply";
}

/** Why nothing can be changed, as a sentence; null where it can. */
export function readOnlyReason() {
  if (dataset.editable) return null;
  if (dataset.stage !== "crop") return "To look at only: crops are changed in the dataset that datakit crop wrote";
  return dataset.source ? "To look at only" : "To look at only: the source pictures are not where they were";
}

async function start() {
  // A caption is saved when its editor is left, and so by the very click that starts this.
  saving = true;
  showApply();
  const saved = await whenSaved();
  saving = false;
  showApply();
  if (!saved || button.disabled) return;
  try {
    const { status, body } = await startApply();
    if (status >= 400) notify(body.error ?? `The changes were not applied (${status})`, { problem: true });
    else await watch();
  } catch (error) {
    notify(error.message, { problem: true, about: "apply" });
  }
}

async function watch() {
  running = true;
  progress.hidden = false;
  bar.removeAttribute("value");
  count.textContent = "";
  showApply();
  announce("Applying the changes");
  try {
    const state = await finished();
    await reload();
    showResult(state);
  } finally {
    running = false;
    progress.hidden = true;
    showApply();
  }
}

async function finished() {
  for (;;) {
    const state = await getApply();
    if (!state.running) return state;
    if (state.total) {
      bar.max = state.total;
      bar.value = state.done;
      count.textContent = `${state.done} of ${state.total}`;
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

function showResult({ report, error }) {
  const lines = error ? [] : summary(report ?? {});
  const problems = [...(report?.refused ?? []), ...(report?.failed ?? [])];
  const list = (title, entries) =>
    entries.length > 0 && [
      element("h3", {}, title),
      element("ul", {}, ...entries.map((entry) => element("li", {}, entry))),
    ];
  result.replaceChildren(
    element("h2", { id: "result-title" }, error ? "The changes could not be applied" : "Applied"),
    ...(error ? [element("p", { class: "problem" }, error)] : lines.map((line) => element("p", {}, line))),
    ...(list(
      "Not used",
      problems.map((entry) => `${entry.source}: ${entry.reason}`),
    ) || []),
    ...(list("Notes", report?.notes ?? []) || []),
    element(
      "p",
      { class: "close" },
      element("button", { type: "button", class: "primary", onclick: () => result.close() }, "Close"),
    ),
  );
  result.showModal();
  announce(error ? error : lines.join(" "));
}

function summary(report) {
  const pictures = (number) => `${number} ${number === 1 ? "picture" : "pictures"}`;
  const lines = [`${pictures(report.done ?? 0)} written, ${report.skipped ?? 0} up to date.`];
  if (report.rejected?.length) lines.push(`${pictures(report.rejected.length)} left out, as rejected.`);
  if (report.removed?.length) lines.push(`${pictures(report.removed.length)} taken out.`);
  return lines;
}
