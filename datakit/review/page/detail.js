// One sample, large: its crop box to drag, its bucket, its caption, and what datakit thought.

import { moved, rebucketed, reachable, shareOf, sized, smallestShare } from "./boxes.js";
import { copiesOf } from "./copies.js";
import { makeCropper } from "./cropper.js";
import { edit, reset } from "./edits.js";
import { bucketShape, element, sizeName } from "./element.js";
import { badgesOf } from "./grid.js";
import { announce, notify } from "./notices.js";
import { dataset, lookOf, pictureSide, sampleOf } from "./samples.js";
import { picture } from "./server.js";

const view = document.getElementById("detail-view");

let shown = null; // {key, update, saveCaption, toggleHeat, focusCaption}
let heated = false;

export const shownKey = () => shown?.key ?? null;

/** Show a sample; `go` has what the buttons do: previous, next, close, accept, reject, undo. */
export function showDetail(key, place, go) {
  const sample = sampleOf(key);
  leaveDetail();
  shown = dataset.stage === "crop" ? cropDetail(sample, place, go) : copiesDetail(sample, place, go);
  shown.key = key;
  shown.update(lookOf(sample));
  view.scrollTop = 0;
  const look = lookOf(sample);
  announce(
    [`${sample.id}, ${place}`, look.bucket && sizeName(look.bucket), ...badgesOf(sample, look).map(([, text]) => text)]
      .filter(Boolean)
      .join(", "),
  );
}

/** Save what stands in the caption editor and take the sample away. */
export function leaveDetail() {
  shown?.saveCaption?.();
  shown = null;
}

/** Show what was changed of a sample, if it is the one shown. */
export function redrawDetail(sample) {
  if (shown && sample && sample.key === shown.key) shown.update(lookOf(sample));
}

export const saveCaption = () => shown?.saveCaption?.();
export const focusCaption = () => shown?.focusCaption?.();
export const toggleHeat = () => shown?.toggleHeat?.();

// Changes that keys make too, of any sample.

const editable = (sample) => dataset.editable && Boolean(sample?.size);

/** Move a sample's box by a share of the picture's long side, or by pixels. */
export function nudge(sample, dx, dy, pixels = false) {
  const { box, bucket } = lookOf(sample);
  if (!editable(sample) || !box) return;
  const step = pixels ? 1 : Math.max(1, Math.round(Math.max(...sample.size) / 100));
  setBox(sample, moved(box, dx * step, dy * step, sample.size), bucket);
}

/** Make a sample's box larger or smaller, in steps of 4 %. */
export function zoom(sample, steps) {
  const { box, bucket } = lookOf(sample);
  if (!editable(sample) || !box) return;
  zoomTo(sample, shareOf(box, sample.size, bucket) - 0.04 * steps);
}

function zoomTo(sample, share) {
  const { box, bucket } = lookOf(sample);
  setBox(sample, sized(box, share, sample.size, bucket, dataset.upscale), bucket);
}

function setBox(sample, box, bucket, what = "move") {
  edit(sample.key, { box, bucket }, what);
  announce(`Box ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}`);
}

/** Give a sample another bucket, by its place among the eight. */
export function chooseBucket(sample, index) {
  const bucket = dataset.buckets[index]?.size;
  if (!editable(sample) || !bucket || !reachable(sample.size, bucket, dataset.upscale)) return;
  const look = lookOf(sample);
  if (look.bucket && sizeName(look.bucket) === sizeName(bucket)) return;
  edit(sample.key, { box: rebucketed(look.box, sample.size, look.bucket, bucket, dataset.upscale), bucket }, "bucket");
  announce(`Bucket ${sizeName(bucket)}`);
}

function top(sample, place, go) {
  return element(
    "div",
    { class: "detail-top" },
    element(
      "button",
      { type: "button", onclick: go.close, "aria-label": "All samples", "aria-keyshortcuts": "Escape" },
      "‹ All",
      element("span", { class: "wide" }, " samples"),
    ),
    element("h2", { title: sample.id }, sample.id),
    element("span", { class: "muted place" }, place),
    element(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": "Previous sample",
        "aria-keyshortcuts": "k",
        onclick: go.previous,
      },
      "←",
    ),
    element(
      "button",
      { type: "button", class: "icon", "aria-label": "Next sample", "aria-keyshortcuts": "j", onclick: go.next },
      "→",
    ),
  );
}

function copiesDetail(sample, place, go) {
  const body = element("div", { class: "copies" });
  view.replaceChildren(top(sample, place, go), body);
  return { update: () => body.replaceChildren(...copiesOf(sample)) };
}

function cropDetail(sample, place, go) {
  const readOnly = !dataset.editable;
  const side = pictureSide(sample);
  const fromSource = side.side === "source" && Boolean(sample.size);
  const preview = element("div", { class: "preview", role: "img", "aria-label": "Preview of the crop" });
  const previewImage = element("img", {
    alt: "",
    src: picture(side.key, side.side, dataset.version),
    draggable: "false",
  });
  preview.append(previewImage);
  const previewFrame = element("div", { class: "preview-frame" }, preview);

  const during = (box) => {
    const look = { ...lookOf(sampleOf(sample.key)), box };
    showPreview(look);
    return look;
  };
  const drop = (box) => setBox(sampleOf(sample.key), box, lookOf(sampleOf(sample.key)).bucket, "drag");
  const cropper = fromSource ? makeCropper(sample, { onDrag: during, onDrop: drop }) : plainStage(sample, side);

  function showPreview({ box, bucket }) {
    previewFrame.hidden = !fromSource || !box || !bucket;
    if (previewFrame.hidden) return;
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    preview.style.aspectRatio = `${bucket[0]} / ${bucket[1]}`;
    preview.classList.toggle("tall", bucket[1] >= bucket[0]);
    previewImage.style.width = `${(100 * sample.size[0]) / width}%`;
    previewImage.style.height = `${(100 * sample.size[1]) / height}%`;
    previewImage.style.left = `${(-100 * box[0]) / width}%`;
    previewImage.style.top = `${(-100 * box[1]) / height}%`;
  }

  const slider = element("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.005,
    "aria-label": "Size of the box",
    oninput: () => zoomTo(sampleOf(sample.key), Number(slider.value)),
  });
  const sizeButton = (label, text, keys, steps) =>
    element(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": label,
        "aria-keyshortcuts": keys,
        onclick: () => zoom(sampleOf(sample.key), steps),
      },
      text,
    );
  const closer = sizeButton("Zoom in: smaller box", "+", "+", 1);
  const wider = sizeButton("Zoom out: larger box", "−", "-", -1);
  const heatButton = element(
    "button",
    { type: "button", "aria-pressed": "false", "aria-keyshortcuts": "h", onclick: () => toggle() },
    "Heat",
  );
  const resetButton = element("button", { type: "button", onclick: () => reset(sample.key) }, "As datakit decided");
  const tools = element("div", { class: "tools", hidden: !fromSource }, wider, slider, closer, heatButton, resetButton);

  const showHeatNow = () => {
    heatButton.setAttribute("aria-pressed", heated);
    cropper.showHeat(heated, () => {
      heated = false;
      heatButton.setAttribute("aria-pressed", "false");
      notify(`${sample.id}: the saliency heat could not be made`, { problem: true });
    });
  };
  const toggle = () => {
    heated = !heated;
    showHeatNow();
    announce(heated ? "Saliency heat shown" : "Saliency heat hidden");
  };

  const bucketButtons = dataset.buckets.map(({ size }, index) =>
    element(
      "button",
      {
        type: "button",
        class: "bucket-choice",
        "data-bucket": size.join("x"),
        title: `${sizeName(size)} (${index + 1})`,
        onclick: () => chooseBucket(sampleOf(sample.key), index),
      },
      bucketShape(size, 26),
      element("span", {}, sizeName(size)),
    ),
  );
  const accept = element(
    "button",
    { type: "button", class: "accept", "aria-keyshortcuts": "a", onclick: go.accept },
    "✓ Accept",
  );
  const reject = element(
    "button",
    { type: "button", class: "reject", "aria-keyshortcuts": "x", onclick: go.reject },
    "✕ Reject",
  );
  const undoButton = element("button", { type: "button", "aria-keyshortcuts": "u", onclick: go.undo }, "Undo");
  const badges = element("p", { class: "badges" });
  const facts = element("dl", { class: "facts" });
  const warnings = element("ul", { class: "warnings", "aria-label": "Warnings" });
  const text = element("textarea", {
    id: "caption",
    rows: 4,
    readonly: readOnly,
    spellcheck: "true",
    "aria-keyshortcuts": "e",
  });
  const hint = element("span", { class: "muted hint" });
  let known = null;

  const save = () => {
    const now = sampleOf(sample.key);
    if (readOnly || known === null || text.value === known) return;
    known = text.value;
    edit(sample.key, { caption: text.value === (now.caption ?? "") ? null : text.value }, "caption");
    announce("Caption saved");
  };
  text.addEventListener("blur", save);
  text.addEventListener("input", () => (hint.textContent = text.value === known ? "" : "Ctrl+Enter saves"));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    if (event.key === "Escape") {
      event.stopPropagation();
      text.blur();
      view.focus({ preventScroll: true });
    }
  });

  view.replaceChildren(
    top(sample, place, go),
    element("div", { class: "work" }, cropper.node, tools),
    element(
      "aside",
      { class: "panel", "aria-label": "Decision and facts" },
      element("div", { class: "decide", role: "group", "aria-label": "Decide" }, accept, reject, undoButton),
      badges,
      warnings,
      previewFrame,
      element("h3", { id: "bucket-title" }, "Bucket"),
      element("div", { class: "bucket-choices", role: "group", "aria-labelledby": "bucket-title" }, ...bucketButtons),
      element("h3", {}, element("label", { for: "caption" }, "Caption"), hint),
      text,
      element("h3", {}, "Why"),
      facts,
    ),
  );
  if (heated) showHeatNow();

  return {
    saveCaption: save,
    focusCaption: () => text.focus(),
    toggleHeat: () => fromSource && toggle(),
    update(look) {
      const now = sampleOf(sample.key);
      cropper.show(look);
      showPreview(look);
      accept.setAttribute("aria-pressed", look.accepted);
      reject.setAttribute("aria-pressed", look.rejected);
      for (const button of [accept, reject, undoButton]) button.disabled = readOnly;
      resetButton.disabled = readOnly || !now.override;
      const adjustable = !readOnly && Boolean(look.box);
      for (const control of [closer, wider, slider]) control.disabled = !adjustable;
      if (look.box) {
        slider.min = smallestShare(sample.size, look.bucket, dataset.upscale);
        slider.value = shareOf(look.box, sample.size, look.bucket);
      }
      for (const [index, button] of bucketButtons.entries()) {
        const size = dataset.buckets[index].size;
        const fits = Boolean(now.size) && reachable(now.size, size, dataset.upscale);
        button.setAttribute("aria-pressed", Boolean(look.bucket) && sizeName(look.bucket) === sizeName(size));
        button.disabled = readOnly || !fits;
        button.title =
          fits || readOnly ? `${sizeName(size)} (${index + 1})` : `${sizeName(size)}: this picture is too small`;
      }
      view.classList.toggle("is-rejected", look.rejected);
      badges.replaceChildren(
        ...badgesOf(now, look).map(([tone, words]) => element("span", { class: `badge ${tone}` }, words)),
      );
      warnings.replaceChildren(
        ...[look.refused && !look.rejected ? `Not in the dataset: ${now.refused}` : null, ...look.warnings]
          .filter(Boolean)
          .map((line) => element("li", {}, line)),
      );
      warnings.hidden = warnings.children.length === 0;
      facts.replaceChildren(
        ...factsOf(now, look).flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
      );
      // What is being typed stays; it is saved on top of the other state when the editor is left.
      if (known === null || document.activeElement !== text || text.value === known) {
        text.value = known = look.caption;
        hint.textContent = "";
      }
    },
  };
}

function plainStage(sample, { key, side }) {
  const image = element("img", { alt: `Picture ${sample.id}`, src: picture(key, side, dataset.version) });
  return { node: element("div", { class: "stage plain" }, image), show() {}, showHeat() {} };
}

function factsOf(sample, look) {
  const percent = (share) => `${Math.floor(share * 1000) / 10} %`;
  const facts = [];
  if (look.anchor) facts.push(["Anchor", look.why ? `${look.anchor}: ${look.why}` : look.anchor]);
  look.faces.forEach((face, index) =>
    facts.push([
      look.faces.length > 1 ? `Face ${index + 1}` : "Face",
      `${percent(face.kept)} kept, score ${face.score.toFixed(2)}`,
    ]),
  );
  if (look.saliencyKept !== null && look.saliencyKept !== undefined)
    facts.push(["Saliency", `${percent(look.saliencyKept)} kept`]);
  if (look.scale)
    facts.push([
      "Scale",
      look.scale > 1 ? `enlarged ${look.scale.toFixed(2)} times` : `shrunk to ${percent(look.scale)}`,
    ]);
  if (sample.size) facts.push(["Source", `${sizeName(sample.size)} pixels`]);
  if (look.box) facts.push(["Box", look.box.join(", ")]);
  if (sample.output) facts.push(["Output", sample.output]);
  return facts;
}
