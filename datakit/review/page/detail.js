// One sample, large: its crop with everything to mend it, or its copies.

import { copiesOf } from "./copies.js";
import { makeCropper } from "./cropper.js";
import { element, sizeName } from "./element.js";
import { badgesOf } from "./grid.js";
import { setBox } from "./mending.js";
import { announce, notify } from "./notices.js";
import {
  makeBuckets,
  makeCaption,
  makeDecision,
  makeFacts,
  makePreview,
  makeRescue,
  makeState,
  makeTools,
} from "./panel.js";
import { dataset, lookOf, pictureSide, sampleOf } from "./samples.js";
import { companion, heat, picture } from "./server.js";

const view = document.getElementById("detail-view");

let shown = null; // {key, show, saveCaption, focusCaption, toggleLayer, nextCompanion}
let layered = null; // "heat", a companion's name, or nothing

export const shownKey = () => shown?.key ?? null;

/** Show a sample; `go` has what the buttons do: previous, next, close, accept, reject, undo. */
export function showDetail(key, place, go) {
  const sample = sampleOf(key);
  const look = lookOf(sample);
  leaveDetail();
  shown = { key, ...(dataset.stage === "crop" ? cropDetail(sample, place, go) : copiesDetail(sample, place, go)) };
  shown.show(look, sample);
  view.scrollTop = 0;
  const words = badgesOf(sample, look).map(([, text]) => text);
  announce([`${sample.id}, ${place}`, look.bucket && sizeName(look.bucket), ...words].filter(Boolean).join(", "));
}

/** Whether somebody is typing, dragging or pressing here. */
export const isBusy = () => Boolean(view.querySelector("textarea:focus, input:focus, .dragging, :active"));

/** Save what stands in the caption editor and take the sample away. */
export function leaveDetail() {
  saveCaption();
  shown = null;
}

/** Show what was changed of a sample, if it is the one shown. */
export function redrawDetail(sample) {
  if (shown && sample.key === shown.key) shown.show(lookOf(sample), sample);
}

export const saveCaption = () => shown?.saveCaption?.();
export const focusCaption = () => shown?.focusCaption?.();
export const toggleHeat = () => shown?.toggleLayer?.("heat");
export const nextCompanion = () => shown?.nextCompanion?.();

function makeTop(sample, place, go) {
  const button = (label, keys, action, ...content) =>
    element("button", { type: "button", "aria-label": label, "aria-keyshortcuts": keys, onclick: action }, ...content);
  const previous = button("Previous sample", "k", go.previous, "←");
  const next = button("Next sample", "j", go.next, "→");
  for (const each of [previous, next]) each.classList.add("icon");
  return element(
    "div",
    { class: "detail-top" },
    button("All samples", "Escape", go.close, "‹ All", element("span", { class: "wide" }, " samples")),
    element("h2", { title: sample.id }, sample.id),
    element("span", { class: "muted place" }, place),
    previous,
    next,
  );
}

function copiesDetail(sample, place, go) {
  const body = element("div", { class: "copies" });
  view.replaceChildren(makeTop(sample, place, go), body);
  return { show: (look, now) => body.replaceChildren(...copiesOf(now)) };
}

function cropDetail(sample, place, go) {
  const { side } = pictureSide(sample);
  const caption = makeCaption(sample, () => view.focus({ preventScroll: true }));
  const aside = [makeDecision(go), makeState(), makeRescue(sample), makeBuckets(sample), caption, makeFacts()];
  const stage = side === "source" && sample.size ? croppingStage(sample) : plainStage(sample);
  if (stage.preview) aside.splice(2, 0, stage.preview);
  view.replaceChildren(
    makeTop(sample, place, go),
    element("div", { class: "work" }, ...stage.nodes),
    element(
      "aside",
      { class: "panel", "aria-label": "Decision and facts" },
      ...aside.flatMap((part) => part.nodes ?? [part.node]),
    ),
  );
  return {
    saveCaption: caption.save,
    focusCaption: caption.focus,
    toggleLayer: stage.toggleLayer,
    nextCompanion: stage.nextCompanion,
    show(look, now) {
      for (const part of [stage, ...aside]) part.show(look, now);
      view.classList.toggle("is-rejected", look.rejected);
    },
  };
}

// The source with its box, the tools below it, and the preview that follows a drag.
function croppingStage(sample) {
  const preview = makePreview(sample);
  const cropper = makeCropper(sample, {
    onDrag(box) {
      const look = { ...lookOf(sampleOf(sample.key)), box };
      preview.show(look);
      return look;
    },
    onDrop: (box) => setBox(sampleOf(sample.key), box, "drag"),
  });
  const named = (layer) => (layer === "heat" ? "saliency heat" : `companion ${layer}`);
  const addressOf = (layer) => (layer === "heat" ? heat(sample.key) : companion(sample.key, layer, dataset.version));
  const showLayer = (layer) => {
    layered = layer;
    tools.showLayer(layer);
    cropper.showLayer(layer && addressOf(layer), () => {
      showLayer(null);
      notify(`${sample.id}: the ${named(layer)} could not be shown`, { problem: true });
    });
  };
  const toggleLayer = (layer) => {
    const before = layered;
    showLayer(before === layer ? null : layer);
    announce(layered ? `The ${named(layer)} is shown` : `The ${named(layer)} is hidden`);
  };
  const nextCompanion = () => {
    const { companions } = sample;
    const next = companions[companions.indexOf(layered) + 1];
    if (companions.length) toggleLayer(next ?? layered);
  };
  const tools = makeTools(sample, toggleLayer);
  if (layered === "heat" || sample.companions.includes(layered)) showLayer(layered);
  return {
    nodes: [cropper.node, tools.node],
    preview,
    toggleLayer,
    nextCompanion,
    show(look, now) {
      cropper.show(look);
      tools.show(look, now);
    },
  };
}

// Where the source is gone, or was refused before it was measured, there is nothing to draw a box on.
function plainStage(sample) {
  const { key, side } = pictureSide(sample);
  const image = element("img", { alt: `Picture ${sample.id}`, src: picture(key, side, dataset.version) });
  return { nodes: [element("div", { class: "stage plain" }, image)], show() {} };
}
