// Change a sample's box and bucket: what the pointer, the panel and the keys have in common.

import { moved, reachable, rebucketed, shareOf, sized } from "./boxes.js";
import { edit } from "./edits.js";
import { sizeName } from "./element.js";
import { announce } from "./notices.js";
import { dataset, limitOf, lookOf } from "./samples.js";

const mendable = (sample) => dataset.editable && Boolean(sample.size);

/** Give a sample another box of its bucket; `what` names the change for undo. */
export function setBox(sample, box, what = "move") {
  edit(sample.key, { box, bucket: lookOf(sample).bucket }, what);
  announce(`Box ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}`);
}

/** Move a sample's box by hundredths of the picture's long side, or by single pixels. */
export function nudge(sample, dx, dy, pixels = false) {
  const { box } = lookOf(sample);
  if (!mendable(sample) || !box) return;
  const step = pixels ? 1 : Math.max(1, Math.round(Math.max(...sample.size) / 100));
  setBox(sample, moved(box, dx * step, dy * step, sample.size));
}

/** Make a sample's box smaller, or with negative steps larger, by 4 % of the largest a step. */
export function zoom(sample, steps) {
  const { box, bucket } = lookOf(sample);
  if (mendable(sample) && box) zoomTo(sample, shareOf(box, sample.size, bucket) - 0.04 * steps);
}

/** Make a sample's box a share (0 to 1) of the largest window. */
export function zoomTo(sample, share) {
  const { box, bucket } = lookOf(sample);
  setBox(sample, sized(box, share, sample.size, bucket, limitOf(sample)));
}

/** Allow a sample that is too small the enlargement that it needs, or take that back. */
export function allow(sample) {
  if (!mendable(sample)) return;
  const allowed = Boolean(sample.decision?.upscale);
  edit(sample.key, { upscale: allowed ? null : sample.upscale_needed }, "enlargement");
  announce(allowed ? "Enlargement taken back" : "Enlargement allowed");
}

/** Whether a sample's bucket may be changed to another. */
export const fillable = (sample, bucket) => mendable(sample) && reachable(sample.size, bucket, limitOf(sample));

/** Give a sample another bucket, by its place among the sizes. */
export function chooseBucket(sample, index) {
  const bucket = dataset.buckets[index]?.size;
  const look = lookOf(sample);
  if (!bucket || !fillable(sample, bucket)) return;
  if (look.bucket && sizeName(look.bucket) === sizeName(bucket)) return;
  edit(sample.key, { box: rebucketed(look.box, sample.size, look.bucket, bucket, limitOf(sample)), bucket }, "bucket");
  announce(`Bucket ${sizeName(bucket)}`);
}
