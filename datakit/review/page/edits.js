// Every change of the user: shown at once, saved at once, kept and sent again until the server has it, and undone.

import { announce, dismiss, notify } from "./notices.js";
import { isSettled, laidOver, sameOverride, sampleOf, update } from "./samples.js";
import { getChanges, putOverride, Unreachable } from "./server.js";

const TOGETHER = 1200; // ms: nudges that follow each other this fast are undone as one
const POLL = 2000;
const LONGEST_PAUSE = 8000;
const OFFLINE = "offline";

const waiting = new Map(); // key -> {override, revision it was made on, fresh, busy}
const done = []; // {key, before, what, at}
const watchers = new Set();
let failures = 0;
let wake = () => {};

/** Be called with (unsaved changes, failures in a row) whenever one of them changes. */
export function onSaving(watcher) {
  watchers.add(watcher);
}

export const unsaved = () => waiting.size;

function tell() {
  for (const watcher of watchers) watcher(waiting.size, failures);
}

/** Change some fields of a sample's override; `what` names the change and groups quick repetitions for undo. */
export function edit(key, change, what) {
  const sample = sampleOf(key);
  const override = laidOver(sample.override, change);
  if (sameOverride(override, sample.override)) return;
  remember(key, sample.override, what);
  put(key, override);
}

/** Go back to what datakit decided. */
export function reset(key) {
  const sample = sampleOf(key);
  if (!sample.override) return;
  remember(key, sample.override, "reset");
  put(key, null);
}

function remember(key, before, what) {
  const last = done.at(-1);
  const now = performance.now();
  if (last && last.key === key && last.what === what && what === "move" && now - last.at < TOGETHER) last.at = now;
  else done.push({ key, before, what, at: now });
}

export const canUndo = () => done.length > 0;

/** Undo the last change made in this tab; returns its sample's key, or null. */
export function undo() {
  const last = done.pop();
  if (!last || !sampleOf(last.key)) {
    announce("Nothing to undo");
    return null;
  }
  put(last.key, last.before);
  announce(`Undone: ${last.what} of ${sampleOf(last.key).id}`);
  return last.key;
}

function put(key, override) {
  const job = waiting.get(key) ?? { busy: false, revision: sampleOf(key).revision };
  job.override = override;
  job.fresh = true;
  waiting.set(key, job);
  update(key, { override, applied: isSettled(sampleOf(key), override) });
  tell();
  drain(key, job);
}

/** Lay what is not saved yet over samples that were loaded anew. */
export function layUnsaved() {
  for (const [key, { override }] of waiting)
    if (sampleOf(key)) update(key, { override, applied: isSettled(sampleOf(key), override) });
}

async function drain(key, job) {
  if (job.busy) return;
  job.busy = true;
  while (job.fresh) {
    job.fresh = false;
    const sent = job.override;
    try {
      const { status, body } = await putOverride(key, job.revision, sent);
      recovered();
      if (status === 200) taken(key, job, body);
      else if (status === 409 && sameOverride(body.override, sent)) taken(key, job, body);
      else if (status === 409) takeOver(key, job, body);
      else refusedEdit(key, job, body);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      job.fresh = true;
      failed(error);
      await pause();
    }
  }
  waiting.delete(key);
  tell();
}

function taken(key, job, body) {
  job.revision = body.revision;
  const fields = { revision: body.revision };
  if (!job.fresh) Object.assign(fields, state(key, body));
  update(key, fields);
}

// What a reply says of a sample; what it leaves out stays as it is.
function state(key, body) {
  const applied = body.applied ?? isSettled(sampleOf(key), body.override);
  return { revision: body.revision, override: body.override, applied };
}

function takeOver(key, job, body) {
  const mine = job.override;
  job.fresh = false;
  job.revision = body.revision;
  forget(key);
  update(key, state(key, body));
  notify(`${sampleOf(key).id} was changed in another tab, and is shown as it is there. Your change was not saved.`, {
    problem: true,
    about: `conflict ${key}`,
    label: "Use mine instead",
    action: () => {
      remember(key, sampleOf(key).override, "change");
      put(key, mine);
    },
  });
}

function refusedEdit(key, job, body) {
  if (job.fresh) return;
  const before = done.findLast((entry) => entry.key === key)?.before ?? null;
  forget(key);
  update(key, { override: before, applied: isSettled(sampleOf(key), before) });
  notify(`${sampleOf(key).id}: ${body.error ?? "the change was refused"}`, { problem: true });
}

function forget(key) {
  for (let index = done.length - 1; index >= 0; index -= 1) if (done[index].key === key) done.splice(index, 1);
}

function failed(error) {
  failures += 1;
  notify(error.message, { problem: true, about: OFFLINE });
  tell();
}

function recovered() {
  if (failures === 0) return;
  failures = 0;
  dismiss(OFFLINE);
  wake();
  tell();
}

// All that wait try again together: after a while, when the network is back, or when another request came through.
function pause() {
  return new Promise((resolve) => {
    const earlier = wake;
    const timer = setTimeout(() => resolve(), Math.min(LONGEST_PAUSE, 500 * 2 ** Math.min(failures, 4)));
    wake = () => {
      clearTimeout(timer);
      earlier();
      resolve();
    };
  });
}

/** Take over what other tabs change, as long as the page is open; `reload` is called when one of them applied. */
export async function follow(reload) {
  let [stamp, runs] = [0, null];
  window.addEventListener("online", () => wake());
  window.addEventListener("beforeunload", (event) => {
    if (waiting.size > 0) event.preventDefault();
  });
  for (;;) {
    try {
      const reply = await getChanges(stamp);
      recovered();
      for (const change of reply.changed) followOne(change);
      stamp = reply.stamp;
      if (runs !== null && reply.dataset !== runs) await reload();
      runs = reply.dataset;
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      failed(error);
    }
    await new Promise((resolve) => setTimeout(resolve, failures ? LONGEST_PAUSE / 2 : POLL));
  }
}

function followOne(change) {
  const sample = sampleOf(change.key);
  // A change of ours on its way meets the other one at the server, which answers 409.
  if (!sample || waiting.has(change.key) || change.revision <= sample.revision) return;
  const differs = !sameOverride(change.override, sample.override);
  update(change.key, state(change.key, change));
  if (!differs) return;
  forget(change.key);
  notify(`${sample.id} was changed in another tab`, { about: "followed" });
}
