// The review page: load the dataset, switch between grid, detail and batches, and connect the parts.

import { buildApply, readOnlyReason, showApply } from "./apply.js";
import { showBatches } from "./batches.js";
import * as detail from "./detail.js";
import { canUndo, edit, follow, onSaving, undo, unsaved } from "./edits.js";
import { element } from "./element.js";
import {
  buildFilters,
  chosen,
  clearFilters,
  filtered,
  focusSearch,
  fromHash,
  onlyBucket,
  query,
  showFilters,
  toHash,
} from "./filters.js";
import * as grid from "./grid.js";
import { listen, showHelp } from "./keys.js";
import { chooseBucket, nudge, zoom } from "./mending.js";
import { announce } from "./notices.js";
import { dataset, load, lookOf, onChange, sampleOf, samples } from "./samples.js";
import { getDataset } from "./server.js";
import { showWords } from "./words.js";

const byId = (id) => document.getElementById(id);
const views = {
  grid: byId("grid-view"),
  detail: byId("detail-view"),
  plan: byId("plan-view"),
  words: byId("words-view"),
};
const empty = byId("empty");
let view = "grid";

// Views and the address

function show(name) {
  view = name;
  for (const [each, node] of Object.entries(views)) node.hidden = each !== name;
  byId("filters").hidden = name !== "grid";
  byId("to-plan").setAttribute("aria-pressed", name === "plan");
  byId("to-words").setAttribute("aria-pressed", name === "words");
  if (name !== "detail") detail.leaveDetail();
}

function keepAddress(push = false) {
  const hash = toHash({ open: view === "detail" && detail.shownKey(), view: ["plan", "words"].includes(view) && view });
  if (hash === (location.hash || "#")) return;
  history[push ? "pushState" : "replaceState"](null, "", hash);
}

function open(key, push = view !== "detail") {
  if (!sampleOf(key)) return;
  show("detail");
  grid.selectKey(key, false);
  const place = `${grid.position() + 1} of ${grid.listed().length}`;
  // Who walks through the samples with one button keeps the focus on it.
  const pressed =
    views.detail.contains(document.activeElement) && document.activeElement.getAttribute("aria-keyshortcuts");
  detail.showDetail(key, place, {
    previous: () => step(-1),
    next: () => step(1),
    close,
    accept: () => decide("accepted"),
    reject: () => decide("rejected"),
    undo: undoLast,
  });
  keepAddress(push);
  const again = pressed && views.detail.querySelector(`button[aria-keyshortcuts="${pressed}"]`);
  (again || views.detail).focus({ preventScroll: true });
}

function close() {
  if (view === "grid") return;
  show("grid");
  refresh();
  keepAddress();
  grid.select(grid.position());
}

function togglePlan() {
  if (view === "plan") return close();
  show("plan");
  showBatches((bucket) => {
    onlyBucket(bucket);
    close();
  });
  keepAddress(true);
  views.plan.focus({ preventScroll: true });
}

function toggleWords() {
  if (view === "words") return close();
  show("words");
  const only = (tag) => {
    query.text = tag;
    close();
  };
  showWords(grid.listed(), only, () => canUndo() && undo());
  keepAddress(true);
  views.words.focus({ preventScroll: true });
}

function followAddress() {
  const { open: key, view: wanted } = fromHash();
  refresh();
  if (key && sampleOf(key)) open(key, false);
  else if (wanted === "plan" && view !== "plan") togglePlan();
  else if (wanted === "words" && view !== "words") toggleWords();
  else if (view !== "grid" && !wanted) close();
}

// What is shown

function refresh() {
  const kept = view === "detail" ? detail.shownKey() : null;
  const list = chosen(kept);
  grid.showSamples(list);
  showFilters(list.length);
  showEmpty(list.length);
  showApply();
}

function showEmpty(count) {
  empty.hidden = count > 0;
  if (count > 0) return;
  empty.replaceChildren(
    ...(samples.length === 0
      ? [
          element("h2", {}, "No samples"),
          element("p", { class: "muted" }, `${dataset.folder} holds no pictures yet: fill it with datakit crop.`),
        ]
      : [
          element("h2", {}, "No sample passes these filters"),
          element("p", { class: "muted" }, `${samples.length} samples are hidden.`),
          element("button", { type: "button", onclick: () => (clearFilters(), changedFilters()) }, "Clear filters"),
        ]),
  );
}

function changedFilters() {
  refresh();
  keepAddress();
}

let planned = 0;

// Edits follow each other fast: counts and order are worked out once for all of a frame.
function refreshSoon() {
  planned ||= requestAnimationFrame(() => {
    planned = 0;
    const kept = view === "detail" ? detail.shownKey() : grid.currentSample()?.key;
    const list = chosen(kept);
    if (list.length !== grid.listed().length || list.some((sample, index) => sample !== grid.listed()[index]))
      grid.showSamples(list);
    showFilters(list.length);
    showEmpty(list.length);
    showApply();
  });
}

// Decisions

const current = () => (view === "detail" ? sampleOf(detail.shownKey()) : view === "grid" ? grid.currentSample() : null);

function step(by) {
  const index = grid.position() + by;
  if (index < 0 || index >= grid.listed().length)
    return announce(by > 0 ? "This is the last sample" : "This is the first sample");
  if (view === "detail") open(grid.listed()[index].key, false);
  else grid.select(index);
  return undefined;
}

function row(by) {
  if (view === "detail") return false;
  const index = grid.position() + by * grid.columnCount();
  if (index >= 0 && index < grid.listed().length) grid.select(index);
  return undefined;
}

function decide(what) {
  const sample = current();
  if (!sample) return;
  if (!dataset.editable) return announce(readOnlyReason());
  const now = !lookOf(sample)[what];
  edit(
    sample.key,
    what === "accepted"
      ? { accepted: now, rejected: now ? false : lookOf(sample).rejected }
      : { rejected: now, accepted: false },
    what,
  );
  announce(`${sample.id} ${now ? what : `no longer ${what}`}`);
  if (now) step(1);
}

function undoLast() {
  if (!canUndo()) return announce("Nothing to undo");
  const key = undo();
  if (view === "detail" && key !== detail.shownKey()) open(key, false);
  else grid.selectKey(key);
}

function nextWarning() {
  const list = grid.listed();
  for (let ahead = 1; ahead <= list.length; ahead += 1) {
    const index = (grid.position() + ahead) % list.length;
    const sample = list[index];
    if (lookOf(sample).warnings.length === 0 && !lookOf(sample).refused) continue;
    if (view === "detail") open(sample.key, false);
    else grid.select(index);
    return announce(`${sample.id}: ${sample.refused ?? lookOf(sample).warnings[0].sentence}`);
  }
  return announce("No warnings among these samples");
}

const withCurrent = (action) => () => current() && action(current());
const inDetail = (action) => () => view === "detail" && action();

function nudgeRows() {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  return Object.entries(arrows).flatMap(([key, [dx, dy]]) => [
    [[`Shift+${key}`], null, "", withCurrent((sample) => nudge(sample, dx, dy))],
    [[`Alt+${key}`, `Alt+Shift+${key}`], null, "", withCurrent((sample) => nudge(sample, dx, dy, true))],
  ]);
}

const KEYS = [
  [["ArrowRight", "j"], "→ j", "next", () => step(1)],
  [["ArrowLeft", "k"], "← k", "previous", () => step(-1)],
  [["ArrowDown"], "↓", "a row down", () => row(1)],
  [["ArrowUp"], "↑", "a row up", () => row(-1)],
  [["PageDown"], null, "", () => row(grid.rowsOnScreen())],
  [["PageUp"], null, "", () => row(-grid.rowsOnScreen())],
  [["Home"], null, "", () => step(-grid.position())],
  [["End"], null, "", () => step(grid.listed().length - 1 - grid.position())],
  [
    ["Enter"],
    "Enter",
    "open the sample",
    () => view === "grid" && grid.currentSample() && open(grid.currentSample().key),
  ],
  [["Escape"], "Esc", "back to all samples", close],
  [["a"], "a", "accept, and on to the next", () => decide("accepted")],
  [["x"], "x", "reject, and on to the next", () => decide("rejected")],
  [["n"], "n", "next with a warning", nextWarning],
  [["u"], "u", "undo", undoLast],
  [[], "Shift ← ↑ ↓ →", "move the box", null],
  [[], "Alt ← ↑ ↓ →", "move it by one pixel", null],
  [["+", "="], "+", "zoom in: a smaller box", withCurrent((sample) => zoom(sample, 1))],
  [["-"], "-", "zoom out: a larger box", withCurrent((sample) => zoom(sample, -1))],
  ...[..."12345678"].map((key, index) => [[key], null, "", withCurrent((sample) => chooseBucket(sample, index))]),
  [[], "1 … 8", "choose the bucket", null],
  [["h"], "h", "saliency heat", inDetail(detail.toggleHeat)],
  [["m"], "m", "mask or other companion, one after the other", inDetail(detail.nextCompanion)],
  [["e"], "e", "edit the caption (Ctrl+Enter saves)", inDetail(detail.focusCaption)],
  [["b"], "b", "buckets and batches", togglePlan],
  [["c"], "c", "tags of the captions shown", toggleWords],
  [["/"], "/", "search", () => view === "grid" && focusSearch()],
  [["?"], "?", "these keys", showHelp],
  ...nudgeRows(),
];

// Start

function showSaving(unsavedChanges, failures) {
  const status = byId("saved");
  const text = failures
    ? `No connection: ${unsavedChanges ? `${unsavedChanges} unsaved, ` : ""}trying again`
    : unsavedChanges
      ? "Saving…"
      : dataset.editable
        ? "All changes saved"
        : "Read only";
  if (status.textContent !== text) status.textContent = text;
  status.title = readOnlyReason() ?? "";
  status.classList.toggle("problem", failures > 0);
  showApply();
}

function showTitle() {
  byId("folder").textContent = dataset.folder;
  byId("folder").title = dataset.folder;
  document.title = `${dataset.folder} – datakit review`;
}

async function reload() {
  const asked = performance.now();
  load(await getDataset(), asked, unsaved());
}

// Nothing is built anew under the hands of somebody who types, drags or presses there.
function showAnew(sample) {
  if (!sample) close();
  else if (detail.isBusy()) detail.redrawDetail(sample);
  else open(sample.key, false);
}

async function start() {
  buildFilters(changedFilters);
  grid.buildGrid(open);
  listen(KEYS);
  byId("to-plan").addEventListener("click", togglePlan);
  byId("to-words").addEventListener("click", toggleWords);
  byId("to-help").addEventListener("click", showHelp);
  byId("result").addEventListener("close", () => view === "grid" && grid.select(grid.position()));
  window.addEventListener("popstate", followAddress);
  window.addEventListener("pagehide", detail.saveCaption);
  window.addEventListener("beforeunload", detail.saveCaption);
  await reload();
  onChange((sample) => {
    if (sample) {
      grid.redraw(sample);
      detail.redrawDetail(sample);
      refreshSoon();
    } else {
      showTitle();
      refresh();
      if (view === "detail") showAnew(sampleOf(detail.shownKey()));
    }
  });
  onSaving(showSaving);
  showTitle();
  showSaving(0, 0);
  show("grid");
  followAddress();
  if (view === "grid") grid.select(0);
  document.body.dataset.ready = "";
  buildApply(reload);
  follow(reload);
}

start().catch((error) => {
  console.error(error);
  empty.hidden = false;
  empty.replaceChildren(
    element("h2", {}, "The dataset could not be shown"),
    element("p", { class: "problem" }, error.message),
    element("button", { type: "button", onclick: () => location.reload() }, "Try again"),
  );
});
