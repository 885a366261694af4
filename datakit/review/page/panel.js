// The parts around a large picture. Each has a `node` (or several) and `show(look, sample)`, which brings it up to date.

import { shareOf, smallestShare } from "./boxes.js";
import { edit } from "./edits.js";
import { bucketShape, element, sizeName } from "./element.js";
import { badgesOf } from "./grid.js";
import { allow, chooseBucket, fillable, zoom, zoomTo } from "./mending.js";
import { announce } from "./notices.js";
import { dataset, isTooSmall, limitOf, sampleOf } from "./samples.js";
import { picture } from "./server.js";

const button = (attributes, ...children) => element("button", { type: "button", ...attributes }, ...children);

/** Accept, reject, undo. */
export function makeDecision(go) {
  const accept = button({ class: "accept", "aria-keyshortcuts": "a", onclick: go.accept }, "✓ Accept");
  const reject = button({ class: "reject", "aria-keyshortcuts": "x", onclick: go.reject }, "✕ Reject");
  const undo = button({ "aria-keyshortcuts": "u", onclick: go.undo }, "Undo");
  for (const each of [accept, reject, undo]) each.disabled = !dataset.editable;
  return {
    node: element("div", { class: "decide", role: "group", "aria-label": "Decide" }, accept, reject, undo),
    show(look) {
      accept.setAttribute("aria-pressed", look.accepted);
      reject.setAttribute("aria-pressed", look.rejected);
    },
  };
}

/** Badges, and the warnings in full. */
export function makeState() {
  const badges = element("p", { class: "badges" });
  const warnings = element("ul", { class: "warnings", "aria-label": "Warnings" });
  return {
    nodes: [badges, warnings],
    show(look, sample) {
      const absent = look.waits ? "Not in the dataset yet: taken in, if it can be, when the changes are applied" : null;
      const refusal = look.refused ? [absent ?? `Not in the dataset: ${sample.refused}`] : [];
      const lines = [...refusal, ...look.warnings.map(({ sentence }) => sentence)];
      const words = badgesOf(sample, look).map(([tone, text]) => element("span", { class: `badge ${tone}` }, text));
      badges.replaceChildren(...words);
      warnings.replaceChildren(...lines.map((line) => element("li", {}, line)));
      warnings.hidden = lines.length === 0;
    },
  };
}

/** The way back for a picture that was refused as too small: allow the enlargement, or draw a box. */
export function makeRescue({ key }) {
  const allowing = button({ onclick: () => allow(sampleOf(key)) });
  const hint = element("span", { class: "muted hint" }, "or choose a bucket and draw the box yourself");
  const node = element("p", { class: "rescue" }, allowing, hint);
  return {
    node,
    show(look, sample) {
      node.hidden = !isTooSmall(sample) || look.rejected;
      if (node.hidden) return;
      allowing.disabled = !dataset.editable;
      const factor = Math.max(sample.upscale_needed, sample.decision?.upscale ?? 1);
      allowing.textContent = `Allow enlarging ${factor.toFixed(2)} times`;
      allowing.setAttribute("aria-pressed", Boolean(sample.decision?.upscale));
    },
  };
}

/** The crop as it will be, in the shape of its bucket. */
export function makePreview(sample) {
  const image = element("img", { alt: "", src: picture(sample.key, "source", 0), draggable: "false" });
  const window = element("div", { class: "preview", role: "img", "aria-label": "Preview of the crop" }, image);
  const node = element("div", { class: "preview-frame" }, window);
  return {
    node,
    show({ box, bucket }) {
      node.hidden = !box;
      if (!box) return;
      const [width, height] = [box[2] - box[0], box[3] - box[1]];
      window.style.aspectRatio = `${bucket[0]} / ${bucket[1]}`;
      window.classList.toggle("tall", bucket[1] >= bucket[0]);
      image.style.width = `${(100 * sample.size[0]) / width}%`;
      image.style.height = `${(100 * sample.size[1]) / height}%`;
      image.style.left = `${(-100 * box[0]) / width}%`;
      image.style.top = `${(-100 * box[1]) / height}%`;
    },
  };
}

/** Zoom, what is laid over the picture (`onLayer`), and the way back to the window that datakit chose. */
export function makeTools({ key, size, companions }, onLayer) {
  const sizing = (label, sign, keys, steps) =>
    button(
      { class: "icon", "aria-label": label, "aria-keyshortcuts": keys, onclick: () => zoom(sampleOf(key), steps) },
      sign,
    );
  const wider = sizing("Zoom out: larger box", "−", "-", -1);
  const closer = sizing("Zoom in: smaller box", "+", "+", 1);
  const slider = element("input", { type: "range", max: 1, step: 0.005, "aria-label": "Size of the box" });
  slider.addEventListener("input", () => zoomTo(sampleOf(key), Number(slider.value)));
  const layers = new Map(
    ["heat", ...companions].map((name, index) => {
      const label = name === "heat" ? "Heat" : name[0].toUpperCase() + name.slice(1);
      const keys = index ? "m" : "h";
      return [name, button({ "aria-pressed": "false", "aria-keyshortcuts": keys, onclick: () => onLayer(name) }, label)];
    }),
  );
  const back = button({ onclick: () => edit(key, { box: null, bucket: null, upscale: null }, "window") }, "As datakit decided");
  return {
    node: element("div", { class: "tools" }, wider, slider, closer, ...layers.values(), back),
    show(look, sample) {
      back.disabled = !dataset.editable || !(sample.decision?.bucket || sample.decision?.upscale);
      for (const control of [wider, slider, closer]) control.disabled = !dataset.editable || !look.box;
      if (!look.box) return;
      slider.min = smallestShare(size, look.bucket, limitOf(sample));
      slider.value = shareOf(look.box, size, look.bucket);
    },
    showLayer(shown) {
      for (const [name, layer] of layers) layer.setAttribute("aria-pressed", name === shown);
    },
  };
}

/** The sizes to choose from, drawn to shape. */
export function makeBuckets({ key }) {
  const choices = dataset.buckets.map(({ size }, index) =>
    button(
      {
        class: "bucket-choice",
        "data-bucket": size.join("x"),
        "aria-keyshortcuts": index + 1,
        onclick: () => chooseBucket(sampleOf(key), index),
      },
      bucketShape(size, 26),
      element("span", {}, sizeName(size)),
    ),
  );
  const group = { class: "bucket-choices", role: "group", "aria-labelledby": "bucket-title" };
  return {
    nodes: [element("h3", { id: "bucket-title" }, "Bucket"), element("div", group, ...choices)],
    show(look, sample) {
      for (const [index, choice] of choices.entries()) {
        const { size } = dataset.buckets[index];
        const name = sizeName(size);
        choice.disabled = !fillable(sample, size);
        choice.title =
          choice.disabled && dataset.editable ? `${name}: this picture is too small` : `${name} (${index + 1})`;
        choice.setAttribute("aria-pressed", Boolean(look.bucket) && sizeName(look.bucket) === name);
      }
    },
  };
}

// Whether the caption of the dataset is one that the review gave it.
const isReviewed = (sample) => typeof sample.settled?.caption === "string";

/** The caption editor: saved when it is left, and by Ctrl+Enter; `onEscape` takes the focus. */
export function makeCaption({ key }, onEscape) {
  const text = element("textarea", { id: "caption", rows: 4, readonly: !dataset.editable, "aria-keyshortcuts": "e" });
  const hint = element("span", { class: "muted hint" });
  const back = button({ class: "take-back", onclick: () => edit(key, { caption: null }, "caption") }, "Take back");
  let known = null;
  const save = () => {
    const sample = sampleOf(key);
    if (!sample || !dataset.editable || known === null || text.value === known) return;
    known = text.value;
    const asSource = text.value === (sample.caption ?? "") && !isReviewed(sample);
    edit(key, { caption: asSource ? null : text.value }, "caption");
    announce("Caption saved");
  };
  text.addEventListener("blur", save);
  text.addEventListener("input", () => (hint.textContent = text.value === known ? "" : "Ctrl+Enter saves"));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    if (event.key !== "Escape") return;
    event.stopPropagation();
    text.blur();
    onEscape();
  });
  return {
    nodes: [element("h3", {}, element("label", { for: "caption" }, "Caption"), hint), text, back],
    save,
    focus: () => text.focus(),
    show(look, sample) {
      const own = typeof sample.decision?.caption === "string";
      back.hidden = !dataset.editable || !own;
      // What is being typed stays; when the editor is left it is saved on top of what others changed.
      if (known !== null && document.activeElement === text && text.value !== known) return;
      text.value = known = look.caption;
      const returns = !own && isReviewed(sample) && sample.caption === sample.settled.caption;
      hint.textContent = returns ? "Apply brings back the source's" : "";
    },
  };
}

/** What datakit found and decided. */
export function makeFacts() {
  const list = element("dl", { class: "facts" });
  return {
    nodes: [element("h3", {}, "Why"), list],
    show(look, sample) {
      const pairs = factsOf(sample, look).map(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
      list.replaceChildren(...pairs.flat());
    },
  };
}

const percent = (share) => `${Math.floor(share * 1000) / 10} %`;

function factsOf(sample, look) {
  const facts = [];
  if (look.anchor) facts.push(["Anchor", look.why ? `${look.anchor}: ${look.why}` : look.anchor]);
  for (const [index, face] of look.faces.entries()) {
    const name = look.faces.length > 1 ? `Face ${index + 1}` : "Face";
    facts.push([name, `${percent(face.kept)} kept, score ${face.score.toFixed(2)}`]);
  }
  if (Number.isFinite(look.saliencyKept)) facts.push(["Saliency", `${percent(look.saliencyKept)} kept`]);
  if (look.scale > 1) facts.push(["Scale", `enlarged ${look.scale.toFixed(2)} times`]);
  else if (look.scale) facts.push(["Scale", `shrunk to ${percent(look.scale)}`]);
  if (sample.size) facts.push(["Source", `${sizeName(sample.size)} pixels`]);
  if (look.box) facts.push(["Box", look.box.join(", ")]);
  if (sample.output) facts.push(["Output", sample.output]);
  return facts;
}
