// Crop boxes: [left, top, right, bottom] in whole pixels of the upright source, half open, in a bucket's aspect.
// Sizes and windows are [width, height].

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

// The smallest long side that a box may have where no enlargement limits it.
const SMALLEST = 64;

export const widthOf = (box) => box[2] - box[0];
export const heightOf = (box) => box[3] - box[1];

/** The largest window of a bucket's aspect in a picture: one side is the picture's, the other is rounded. */
export function largestWindow([width, height], [across, down]) {
  if (width * down >= height * across) return [Math.max(1, ratio(height * across, down)), height];
  return [width, Math.max(1, ratio(width * down, across))];
}

const ratio = (numerator, denominator) => Math.floor((2 * numerator + denominator) / (2 * denominator));

/** By how much a window must be enlarged to fill a bucket; 1 or less shrinks it. */
export const enlargement = ([width, height], [across, down]) => Math.max(across / width, down / height);

/** Whether a bucket can be filled from a picture of this size without enlarging it more than allowed. */
export const reachable = (size, bucket, upscale) =>
  !upscale || enlargement(largestWindow(size, bucket), bucket) <= upscale;

/**
 * The window of a bucket's aspect whose long side is nearest to `long`: inside the picture, and not so small that
 * it would have to be enlarged by more than `upscale` (null: no limit).
 */
function windowOf(long, size, bucket, upscale) {
  const largest = largestWindow(size, bucket);
  const wide = bucket[0] >= bucket[1];
  const most = wide ? largest[0] : largest[1];
  const other = wide ? largest[1] : largest[0];
  const [longSide, shortSide] = wide ? bucket : [bucket[1], bucket[0]];
  let least = upscale ? Math.ceil(longSide / upscale) : SMALLEST;
  while (upscale && least < most && shortSide / ratio(least * shortSide, longSide) > upscale) least += 1;
  const side = clamp(Math.round(long), Math.min(least, most), most);
  const short = side >= most ? other : Math.min(other, Math.max(1, ratio(side * shortSide, longSide)));
  return wide ? [side, short] : [short, side];
}

/** A window about a centre, moved as far as needed to lie inside the picture. */
function placed([width, height], [x, y], size) {
  const left = clamp(Math.round(x - width / 2), 0, size[0] - width);
  const top = clamp(Math.round(y - height / 2), 0, size[1] - height);
  return [left, top, left + width, top + height];
}

const centre = (box) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
const longSide = (box, bucket) => (bucket[0] >= bucket[1] ? widthOf(box) : heightOf(box));
const longest = (size, bucket) =>
  bucket[0] >= bucket[1] ? largestWindow(size, bucket)[0] : largestWindow(size, bucket)[1];

/** The largest box of a bucket in the middle of a picture. */
export function middle(size, bucket) {
  return placed(largestWindow(size, bucket), [size[0] / 2, size[1] / 2], size);
}

/** Move a box by whole pixels, no further than the picture's edge. */
export function moved(box, dx, dy, size) {
  const left = clamp(Math.round(box[0] + dx), 0, size[0] - widthOf(box));
  const top = clamp(Math.round(box[1] + dy), 0, size[1] - heightOf(box));
  return [left, top, left + widthOf(box), top + heightOf(box)];
}

/** How large a box is: 1 is the largest window of its bucket. */
export const shareOf = (box, size, bucket) => longSide(box, bucket) / longest(size, bucket);

/** Give a box another size about its centre: a share (0 to 1) of the largest window. */
export function sized(box, share, size, bucket, upscale) {
  return placed(windowOf(share * longest(size, bucket), size, bucket, upscale), centre(box), size);
}

/** The smallest share that `sized` gives. */
export function smallestShare(size, bucket, upscale) {
  const window = windowOf(0, size, bucket, upscale);
  return shareOf([0, 0, ...window], size, bucket);
}

/** Give a box another bucket: same centre, same share of the largest window. */
export function rebucketed(box, size, from, to, upscale) {
  if (!box) return middle(size, to);
  return sized(box, shareOf(box, size, from), size, to, upscale);
}

/** Drag a corner ("nw", "ne", "sw", "se") to a point; the opposite corner stays where it is. */
export function dragged(box, corner, [x, y], size, bucket, upscale) {
  const east = corner.includes("e");
  const south = corner.includes("s");
  const fixed = [east ? box[0] : box[2], south ? box[1] : box[3]];
  const room = [east ? size[0] - fixed[0] : fixed[0], south ? size[1] - fixed[1] : fixed[1]];
  const asked = [east ? x - fixed[0] : fixed[0] - x, south ? y - fixed[1] : fixed[1] - y];
  const wide = bucket[0] >= bucket[1];
  const aspect = bucket[0] / bucket[1];
  const long = wide ? Math.max(asked[0], asked[1] * aspect) : Math.max(asked[1], asked[0] / aspect);
  const reach = largestWindow([Math.max(1, room[0]), Math.max(1, room[1])], bucket);
  const limit = longSide([0, 0, ...reach], bucket);
  let window = windowOf(Math.min(long, limit), size, bucket, upscale);
  // Where the least size does not fit between the fixed corner and the edge, the box keeps its size.
  if (window[0] > room[0] || window[1] > room[1]) window = [widthOf(box), heightOf(box)];
  const left = east ? fixed[0] : fixed[0] - window[0];
  const top = south ? fixed[1] : fixed[1] - window[1];
  return [left, top, left + window[0], top + window[1]];
}

/** The share (0 to 1) of an area's surface that lies inside a box. */
export function shareInside(area, box) {
  const width = Math.min(area[2], box[2]) - Math.max(area[0], box[0]);
  const height = Math.min(area[3], box[3]) - Math.max(area[1], box[1]);
  const surface = (area[2] - area[0]) * (area[3] - area[1]);
  return width <= 0 || height <= 0 || surface <= 0 ? 0 : Math.min(1, (width * height) / surface);
}
