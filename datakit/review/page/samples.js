// The samples as the page knows them, and each as it will be once its decision is applied.

import { enlargement, heightOf, shareInside, widthOf } from "./boxes.js";

const UNCHANGED = { box: null, bucket: null, upscale: null, rejected: false, accepted: false, caption: null };

/** Everything that api/dataset said but the samples; `version` counts loads, so that written pictures are asked for anew. */
export let dataset = {
  stage: "other",
  folder: "",
  source: null,
  editable: false,
  buckets: [],
  upscale: null,
  stamp: 0,
  runs: 0,
  version: 0,
};
export let samples = [];

const names = new Intl.Collator(undefined, { numeric: true });
const byKey = new Map();
const looks = new Map();
const listeners = new Set();

/** Be called with the changed sample (null: all of them) after every change. */
export function onChange(listener) {
  listeners.add(listener);
}

/** Take over what api/dataset answered to what was asked at a time; what is not saved yet (key -> decision) is laid over it. */
export function load(reply, asked, unsaved) {
  const { samples: fresh, ...rest } = reply;
  dataset = { ...rest, version: Date.now() };
  samples = fresh;
  for (const sample of samples) bringUpToDate(sample, byKey.get(sample.key), asked, unsaved);
  // Names are compared once: for ten thousand that takes longer than all else that a keystroke in the search does.
  [...samples].sort((a, b) => names.compare(a.id, b.id)).forEach((sample, place) => (sample.place = place));
  byKey.clear();
  looks.clear();
  for (const sample of samples) byKey.set(sample.key, sample);
  for (const listener of listeners) listener(null);
}

// `settled` is the decision that the dataset follows, if one is known; `seen` is when what is known was true.
function bringUpToDate(sample, known, asked, unsaved) {
  sample.seen = asked;
  if (sample.applied) sample.settled = sample.decision;
  else if (sameDecision(sample.settled, sample.decision)) sample.settled = undefined;
  if (known?.seen > asked) {
    const { revision, decision, applied, seen } = known;
    Object.assign(sample, { revision, decision, applied, seen });
  }
  if (unsaved.has(sample.key)) {
    sample.decision = unsaved.get(sample.key);
    sample.applied = isSettled(sample, sample.decision);
  }
}

export const sampleOf = (key) => byKey.get(key);

/** Change what is known of a sample. */
export function update(key, fields) {
  const sample = byKey.get(key);
  if (!sample) return;
  Object.assign(sample, fields);
  looks.delete(key);
  for (const listener of listeners) listener(sample);
}

/** The decision of a sample with a change laid over it; null where nothing is left of it. */
export function laidOver(decision, change) {
  const merged = { ...UNCHANGED, ...decision, ...change };
  return sameDecision(merged, UNCHANGED) ? null : merged;
}

/** Whether two decisions say the same. */
export function sameDecision(one, other) {
  const [a, b] = [one, other].map((decision) => ({ ...UNCHANGED, ...decision }));
  return Object.keys(UNCHANGED).every((name) => JSON.stringify(a[name]) === JSON.stringify(b[name]));
}

/** A sample as it will be once its decision is applied. */
export function lookOf(sample) {
  let look = looks.get(sample.key);
  if (!look) looks.set(sample.key, (look = compose(sample)));
  return look;
}

function compose(sample) {
  const decision = { ...UNCHANGED, ...sample.decision };
  const box = decision.box ?? sample.box;
  const bucket = decision.bucket ?? sample.bucket;
  const byHand = Boolean(decision.box);
  const takenBack = !byHand && !decision.upscale && Boolean(sample.settled?.box || sample.settled?.upscale);
  const faces = sample.faces.map((face) => ({ ...face, kept: byHand ? shareInside(face.box, box) : face.kept }));
  const scale = box && bucket ? enlargement([widthOf(box), heightOf(box)], bucket) : sample.scale;
  return {
    box,
    bucket,
    faces,
    anchor: byHand ? "manual" : sample.anchor,
    why: byHand ? "drawn by hand" : takenBack ? "decided anew when the change is applied" : sample.why,
    saliencyKept: byHand ? null : sample.saliency_kept,
    scale,
    warnings: byHand ? mendedWarnings(sample, faces, scale) : sample.warnings,
    // Once it is applied the file is what counts: it may have been edited since.
    caption: (sample.applied ? null : decision.caption) ?? sample.caption ?? "",
    rejected: decision.rejected,
    accepted: decision.accepted,
    changed: Boolean(byHand || decision.bucket || decision.upscale || decision.caption !== null),
    faceCut: faces.some((face) => face.kept < 0.9995),
    refused: Boolean(sample.refused) && !decision.rejected,
    low: sample.confidence === "low",
    waits: !sample.applied,
  };
}

// What crop warns of a window: a window drawn by hand has its own, before they are written.
const OF_WINDOW = new Set(["face-cut", "face-doubtful", "enlarged"]);

function mendedWarnings(sample, faces, scale) {
  const cut = faces.filter((face) => face.kept < 0.99995);
  return [
    ...sample.warnings.filter(({ kind }) => !OF_WINDOW.has(kind)),
    ...cut.map(({ kept }) => ({ kind: "face-cut", sentence: `a face does not fit: ${Math.round(100 * kept)}% of it is kept` })),
    ...(scale > 1 ? [{ kind: "enlarged", sentence: `enlarged ${decimal(scale)} times` }] : []),
  ];
}

// As Python writes it: four digits at most, one at least.
const decimal = (number) => number.toFixed(4).replace(/(\.\d+?)0+$/, "$1");

/** Whether the dataset follows a decision already, as far as is known since it was loaded; accepting changes no file. */
export function isSettled(sample, decision) {
  const unseen = { accepted: false };
  return sample.settled !== undefined && sameDecision({ ...decision, ...unseen }, { ...sample.settled, ...unseen });
}

/** Whether a sample is not in the dataset because it would have to be enlarged. */
export const isTooSmall = (sample) => sample.problem === "too-small" && Boolean(sample.size);

/** By how much a window of a sample may be enlarged: null for no limit, as where somebody rescues one that is too small. */
export function limitOf(sample) {
  if (!dataset.upscale || isTooSmall(sample)) return null;
  return Math.max(dataset.upscale, sample.decision?.upscale ?? 1);
}

/** Where the picture of a sample is found: the source, where it still is there, or what was written. */
export function pictureSide(sample) {
  if (dataset.stage === "crop" && (dataset.source || !sample.output)) return { key: sample.key, side: "source" };
  return { key: sample.copies[0]?.key ?? sample.key, side: "output" };
}
