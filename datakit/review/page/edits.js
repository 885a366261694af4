// Every change of the user: shown at once, saved at once, kept and sent again until the server has it, and undone.

import { announce, dismiss, notify } from "./notices.js";
import { dataset, isSettled, laidOver, sameDecision, sampleOf, update } from "./samples.js";
import { getChanges, putDecision, Unreachable } from "./server.js";

const TOGETHER = 1200; // ms: nudges that follow each other this fast are undone as one
const POLL = 2000;
const LONGEST_PAUSE = 8000;
const OFFLINE = "offline";

// key -> {decision, caption shown when it was made, revision it was made on, kept: what the server has,
// lost: what was sent and got no answer, fresh, busy}
const waiting = new Map();
const done = []; // {key, before, what, at, group}
let groups = 0;
const watchers = new Set();
let failures = 0;
let wake = () => {};

/** Be called with (unsaved changes, failures in a row) whenever one of them changes. */
export function onSaving(watcher) {
  watchers.add(watcher);
}

/** The decisions that are not saved yet, by key. */
export const unsaved = () => new Map([...waiting].map(([key, job]) => [key, job.decision]));

/** Wait until everything is saved; false where the server does not answer. */
export function whenSaved() {
  return new Promise((resolve) => {
    const watcher = (unsavedChanges, inARow) => {
      if (unsavedChanges > 0 && inARow === 0) return;
      watchers.delete(watcher);
      resolve(unsavedChanges === 0);
    };
    watchers.add(watcher);
    watcher(waiting.size, failures);
  });
}

function tell() {
  for (const watcher of watchers) watcher(waiting.size, failures);
}

/** Change some fields of a sample's decision; `what` names the change and groups quick repetitions for undo. */
export function edit(key, change, what) {
  const sample = sampleOf(key);
  const decision = laidOver(sample.decision, change);
  if (sameDecision(decision, sample.decision)) return;
  remember(key, sample.decision, what);
  put(key, decision);
}

/** Change several samples (key -> change) as one: they are undone together. */
export function editAll(changes, what) {
  groups += 1;
  for (const [key, change] of changes) {
    const before = done.length;
    edit(key, change, what);
    if (done.length > before) done.at(-1).group = groups;
  }
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
  let more = 0;
  while (last.group && done.at(-1)?.group === last.group) {
    const other = done.pop();
    put(other.key, other.before);
    more += 1;
  }
  announce(`Undone: ${last.what} of ${sampleOf(last.key).id}${more ? ` and ${more} more` : ""}`);
  return last.key;
}

function put(key, decision) {
  const sample = sampleOf(key);
  if (!sample) return;
  const { revision, decision: before, applied, caption } = sample;
  const job = waiting.get(key) ?? { busy: false, revision, kept: { decision: before, applied }, lost: [] };
  Object.assign(job, { decision, caption, fresh: true });
  waiting.set(key, job);
  update(key, { decision, applied: isSettled(sample, decision) });
  tell();
  drain(key, job);
}

async function drain(key, job) {
  if (job.busy) return;
  job.busy = true;
  while (job.fresh) {
    job.fresh = false;
    const sent = job.decision;
    try {
      const { status, body } = await putDecision(key, job.revision, sent, job.caption);
      recovered();
      const holds = (decision) => sameDecision(body.decision, decision);
      if (status === 200 || (status === 409 && holds(sent))) taken(key, job, body);
      else if (status === 409 && job.lost.some(holds)) resend(job, body);
      else if (status === 409) takeOver(key, job, body);
      else refusedEdit(key, job, body);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      job.lost.push(sent);
      job.fresh = true;
      failed(error);
      await pause();
    }
  }
  waiting.delete(key);
  tell();
}

const stateOf = ({ revision, decision, applied }) => ({ revision, decision, applied });

function taken(key, job, body) {
  const { revision, ...kept } = stateOf(body);
  Object.assign(job, { revision, kept, lost: [] });
  update(key, { revision, seen: performance.now(), ...(job.fresh ? {} : kept) });
}

// What stands in the way is an earlier change of ours, whose answer was lost.
function resend(job, body) {
  job.revision = body.revision;
  job.fresh = true;
}

function takeOver(key, job, body) {
  const mine = job.decision;
  job.fresh = false;
  job.revision = body.revision;
  forget(key);
  update(key, { ...stateOf(body), seen: performance.now() });
  notify(`${nameOf(key)} was changed in another tab, and is shown as it is there. Your change was not saved.`, {
    problem: true,
    about: `conflict ${key}`,
    label: "Use mine instead",
    action: () => {
      if (!sampleOf(key)) return;
      remember(key, sampleOf(key).decision, "change");
      put(key, mine);
    },
  });
}

function refusedEdit(key, job, body) {
  if (job.fresh) return;
  forget(key);
  update(key, job.kept);
  notify(`${nameOf(key)}: ${body.error ?? "the change was refused"}`, { problem: true });
}

const nameOf = (key) => sampleOf(key)?.id ?? "A picture that is gone";

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
  let { stamp } = dataset;
  window.addEventListener("online", () => wake());
  window.addEventListener("beforeunload", (event) => {
    if (waiting.size > 0) event.preventDefault();
  });
  for (;;) {
    try {
      const asked = performance.now();
      const reply = await getChanges(stamp);
      recovered();
      let crossed = false;
      for (const change of reply.changed) if (!followOne(change, asked)) crossed = true;
      if (!crossed) stamp = reply.stamp;
      if (reply.runs > dataset.runs) await reload();
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      failed(error);
    }
    await new Promise((resolve) => setTimeout(resolve, failures ? LONGEST_PAUSE / 2 : POLL));
  }
}

// False where a change of ours crossed it on the way: what it says may be older, and is asked for again.
function followOne(change, asked) {
  const sample = sampleOf(change.key);
  if (!sample) return true;
  if (waiting.has(change.key) || sample.seen > asked) return false;
  const differs = !sameDecision(change.decision, sample.decision);
  if (differs || change.revision !== sample.revision || change.applied !== sample.applied)
    update(change.key, { ...stateOf(change), seen: asked });
  if (!differs) return true;
  forget(change.key);
  notify(`${sample.id} was changed in another tab`, { about: "followed" });
  return true;
}
