// The grid: a virtual list in which only the cells near the window exist, so that ten thousand samples stay fluid.

import { bucketShape, drawn, element, sizeName } from "./element.js";
import { dataset, lookOf, pictureSide } from "./samples.js";
import { thumbnail } from "./server.js";

const view = document.getElementById("grid-view");
const grid = document.getElementById("grid");

const GAP = 16;
const TEXT = 104; // px below the picture: name, caption, badges
const SETTLE = 60; // ms before a cell asks for its thumbnail: those that fly past never do

const cells = new Map(); // key -> {node, update, timer}
let list = [];
let places = new Map(); // key -> index
let current = 0;
let columns = 1;
let pictureBox = [200, 160];
let open = () => {};
let frame = 0;

/** Set the grid up; `onOpen` is called with the key of the sample to open. */
export function buildGrid(onOpen) {
  open = onOpen;
  view.addEventListener("scroll", schedule, { passive: true });
  new ResizeObserver(() => !view.hidden && layOut()).observe(view);
}

function schedule() {
  frame ||= requestAnimationFrame(() => ((frame = 0), render()));
}

/** Show other samples; the current one stays current where it is among them, else the one in its place does. */
export function showSamples(next) {
  const key = list[current]?.key;
  const focused = cells.get(key)?.node.contains(document.activeElement);
  list = next;
  places = new Map(list.map((sample, index) => [sample.key, index]));
  current = places.get(key) ?? Math.max(0, Math.min(current, list.length - 1));
  for (const cell of cells.values()) cell.stale = true;
  layOut();
  if (focused && !places.has(key)) select(current);
}

/** Redraw one sample where it is on the screen. */
export function redraw(sample) {
  cells.get(sample.key)?.update(sample);
}

export const currentSample = () => list[current] ?? null;
export const listed = () => list;
export const position = () => current;
export const columnCount = () => columns;
export const rowsOnScreen = () => Math.max(1, Math.floor(view.clientHeight / rowHeight()));

const rowHeight = () => pictureBox[1] + TEXT + GAP;

function layOut() {
  const width = view.clientWidth - 2 * GAP;
  if (width <= 0) return;
  const least = width < 560 ? 148 : 232;
  columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const cell = Math.floor((width - GAP * (columns - 1)) / columns);
  pictureBox = [cell, Math.round(cell * 0.8)];
  grid.style.height = `${Math.ceil(list.length / columns) * rowHeight() + GAP}px`;
  for (const entry of cells.values()) entry.stale = true;
  render();
}

function render() {
  const first = Math.max(0, Math.floor((view.scrollTop - rowHeight()) / rowHeight()) * columns);
  const last = Math.min(
    list.length,
    Math.ceil((view.scrollTop + view.clientHeight + rowHeight()) / rowHeight()) * columns,
  );
  const wanted = [];
  // The current cell exists always: it holds the focus.
  if (current < first && list[current]) wanted.push(current);
  for (let index = first; index < last; index += 1) wanted.push(index);
  if (current >= last && list[current]) wanted.push(current);
  const keys = new Set(wanted.map((index) => list[index].key));
  for (const [key, cell] of cells) if (!keys.has(key)) drop(key, cell);
  let before = grid.firstElementChild;
  for (const index of wanted) {
    const sample = list[index];
    let cell = cells.get(sample.key);
    if (!cell) cells.set(sample.key, (cell = makeCell(sample)));
    if (cell.stale !== false) cell.update(sample);
    cell.stale = false;
    place(cell.node, index);
    if (cell.node === before) before = before.nextElementSibling;
    else grid.insertBefore(cell.node, before);
  }
}

function drop(key, cell) {
  clearTimeout(cell.timer);
  cell.node.remove();
  cells.delete(key);
}

function place(node, index) {
  const x = GAP + (index % columns) * (pictureBox[0] + GAP);
  const y = GAP + Math.floor(index / columns) * rowHeight();
  node.style.transform = `translate(${x}px, ${y}px)`;
  node.style.width = `${pictureBox[0]}px`;
  node.style.height = `${rowHeight() - GAP}px`;
  node.setAttribute("aria-posinset", index + 1);
  node.setAttribute("aria-setsize", list.length);
  node.firstElementChild.tabIndex = index === current ? 0 : -1;
  node.classList.toggle("current", index === current);
}

/** Make a sample the current one, bring it into view and, unless told not to, focus it. */
export function select(index, focus = true) {
  if (list.length === 0) return;
  current = Math.max(0, Math.min(index, list.length - 1));
  const top = Math.floor(current / columns) * rowHeight();
  const bottom = top + rowHeight() + GAP;
  if (top < view.scrollTop) view.scrollTop = top;
  else if (bottom > view.scrollTop + view.clientHeight) view.scrollTop = bottom - view.clientHeight;
  render();
  if (focus && !view.hidden) cells.get(list[current].key).node.firstElementChild.focus({ preventScroll: true });
}

export const selectKey = (key, focus = true) => places.has(key) && select(places.get(key), focus);

// Without scrolling: what is pressed must not move away under the pointer.
function makeCurrent(key) {
  if (!places.has(key) || places.get(key) === current) return;
  current = places.get(key);
  render();
}

function makeCell(sample) {
  const image = element("img", { alt: "", decoding: "async", draggable: "false" });
  const overlay = drawn("svg", { class: "overlay", preserveAspectRatio: "none", "aria-hidden": "true" });
  const figure = element("div", { class: "figure" }, image, overlay);
  const frameOf = element("div", { class: "frame" }, figure);
  const name = element("span", { class: "name" });
  const size = element("span", { class: "bucket muted" });
  const caption = element("span", { class: "caption" });
  const badges = element("span", { class: "badges" });
  const button = element(
    "button",
    // A screen reader may move the focus by itself: the keys then act on what it reads.
    {
      type: "button",
      class: "card",
      onfocus: () => makeCurrent(sample.key),
      onclick: () => (selectKey(sample.key, false), open(sample.key)),
    },
    frameOf,
    element("span", { class: "line" }, name, size),
    caption,
    badges,
  );
  const node = element("div", { class: "cell", role: "listitem", "data-key": sample.key }, button);
  const cell = { node, timer: 0, stale: true };

  cell.update = (now) => {
    const look = lookOf(now);
    const { key, side } = pictureSide(now);
    // Of what was refused the size may be unknown until the thumbnail is here.
    const natural = (side === "source" ? now.size : look.bucket) ?? [image.naturalWidth || 4, image.naturalHeight || 3];
    const scale = Math.min(pictureBox[0] / natural[0], pictureBox[1] / natural[1]);
    frameOf.style.height = `${pictureBox[1]}px`;
    figure.style.width = `${Math.max(1, Math.round(natural[0] * scale))}px`;
    figure.style.height = `${Math.max(1, Math.round(natural[1] * scale))}px`;
    drawOverlay(overlay, side === "source" ? now : null, look);
    const address = thumbnail(key, side, side === "output" ? dataset.version : 0);
    if (cell.address !== address) {
      cell.address = address;
      clearTimeout(cell.timer);
      cell.timer = setTimeout(() => (image.src = address), SETTLE);
    }
    name.textContent = now.id;
    name.title = now.id;
    size.replaceChildren(...(look.bucket ? [bucketShape(look.bucket, 14), sizeName(look.bucket)] : []));
    caption.textContent = look.caption || now.refused || "no caption";
    caption.classList.toggle("muted", !look.caption);
    badges.replaceChildren(
      ...badgesOf(now, look).map(([tone, text]) => element("span", { class: `badge ${tone}` }, text)),
    );
    node.classList.toggle("rejected", look.rejected);
    node.classList.toggle("refused", look.refused);
    node.classList.toggle("accepted", look.accepted);
    button.setAttribute("aria-label", describe(now, look));
  };
  image.addEventListener("error", () => figure.classList.add("missing"));
  image.addEventListener("load", () => {
    figure.classList.remove("missing");
    if (!sample.size) cell.update(sample);
  });
  return cell;
}

/** Draw a crop box, the dimmed rest, and the faces into an SVG whose units are the source's pixels. */
export function drawOverlay(overlay, sample, look) {
  if (!sample?.size) return overlay.replaceChildren();
  const [width, height] = sample.size;
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const shapes = look.faces.map((face) => rectangle(face.box, face.kept < 0.9995 ? "face cut" : "face"));
  if (look.box) {
    const [left, top, right, bottom] = look.box;
    const hole = `M0 0H${width}V${height}H0Z M${left} ${top}V${bottom}H${right}V${top}Z`;
    shapes.unshift(drawn("path", { class: "outside", d: hole, "fill-rule": "evenodd" }));
    shapes.push(rectangle(look.box, "window"));
  }
  overlay.replaceChildren(...shapes);
}

const rectangle = ([left, top, right, bottom], name) =>
  drawn("rect", { class: name, x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) });

/** What a sample should say at a glance: [tone, words], the decision first. */
export function badgesOf(sample, look) {
  const badges = [];
  if (look.rejected) badges.push(["bad", "✕ rejected"]);
  if (look.accepted) badges.push(["good", "✓ accepted"]);
  if (look.changed) badges.push(["note", "✎ changed"]);
  if (look.refused) badges.push(["bad", "refused"]);
  if (look.faceCut) badges.push(["warn", "face cut"]);
  if (look.low) badges.push(["warn", "low confidence"]);
  if (sample.copies.length) badges.push(["", `${sample.copies.length} copies`]);
  if (look.warnings.length)
    badges.push(["warn", look.warnings.length === 1 ? "1 warning" : `${look.warnings.length} warnings`]);
  if (look.anchor) badges.push(["", look.anchor]);
  return badges;
}

function describe(sample, look) {
  const parts = [sample.id];
  if (look.bucket) parts.push(`bucket ${sizeName(look.bucket)}`);
  parts.push(...badgesOf(sample, look).map(([, text]) => text.replace(/^\W\s/, "")));
  if (look.refused) parts.push(sample.refused);
  if (look.caption) parts.push(`caption: ${look.caption.slice(0, 120)}`);
  return parts.join(", ");
}
