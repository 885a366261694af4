// Which samples are shown, in which order: the query, its controls, and its place in the address.

import { element, sizeName } from "./element.js";
import { dataset, lookOf, samples } from "./samples.js";

const bar = document.getElementById("filters");

const FLAGS = {
  faceCut: "Face cut",
  low: "Low confidence",
  refused: "Refused",
  changed: "Changed",
  rejected: "Rejected",
  accepted: "Accepted",
};
const DECISIONS = ["changed", "rejected", "accepted"];
const ANCHORS = ["face", "saliency", "center", "manual"];
const SORTS = {
  attention: "What needs an eye",
  name: "Name",
  bucket: "Bucket",
};
const EMPTY = { text: "", bucket: "", warning: "", anchor: "", sort: "attention" };

export const query = { ...EMPTY, flags: new Set() };

const byName = (a, b) => a.place - b.place;
const ORDERS = {
  attention: (a, b) => b.attention - a.attention || byName(a, b),
  name: byName,
  bucket: (a, b) => orderOf(a) - orderOf(b) || byName(a, b),
};

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function orderOf(sample) {
  const bucket = lookOf(sample).bucket;
  const index = bucket ? dataset.buckets.findIndex(({ size }) => sizeName(size) === sizeName(bucket)) : -1;
  return index < 0 ? dataset.buckets.length : index;
}

/** The samples that pass, in order. The one with the key `kept` passes always: mending it must not make it vanish. */
export function chosen(kept = null) {
  const text = query.text.trim().toLowerCase();
  return samples.filter((sample) => sample.key === kept || passes(sample, text)).sort(ORDERS[query.sort]);
}

function passes(sample, text) {
  const look = lookOf(sample);
  if (query.bucket && (!look.bucket || sizeName(look.bucket) !== query.bucket)) return false;
  if (query.anchor && look.anchor !== query.anchor) return false;
  if (query.warning === "any" && look.warnings.length === 0) return false;
  if (query.warning && query.warning !== "any" && !look.warnings.some(({ kind }) => kind === query.warning))
    return false;
  for (const flag of query.flags) if (!look[flag]) return false;
  return !text || `${sample.id}\n${look.caption}`.toLowerCase().includes(text);
}

export const filtered = () => Boolean(query.text || query.bucket || query.warning || query.anchor || query.flags.size);

/** How many samples each choice would show, over the whole dataset. */
function counts() {
  const count = { bucket: new Map(), warning: new Map(), anchor: new Map(), flags: new Map(), warned: 0 };
  const add = (map, name) => map.set(name, (map.get(name) ?? 0) + 1);
  for (const sample of samples) {
    const look = lookOf(sample);
    if (look.bucket) add(count.bucket, sizeName(look.bucket));
    if (look.anchor) add(count.anchor, look.anchor);
    if (look.warnings.length) count.warned += 1;
    for (const kind of new Set(look.warnings.map(({ kind }) => kind))) add(count.warning, kind);
    for (const flag of Object.keys(FLAGS)) if (look[flag]) add(count.flags, flag);
  }
  return count;
}

const controls = {};

/** Build the controls; `changed` is called after every choice. */
export function buildFilters(changed) {
  const choose = (name) => {
    const control = element("select", {
      "aria-label": LABELS[name],
      onchange: () => ((query[name] = control.value), changed()),
    });
    controls[name] = control;
    return control;
  };
  controls.text = element("input", {
    type: "search",
    placeholder: "Search names and captions",
    "aria-label": "Search names and captions",
    "aria-keyshortcuts": "/",
    oninput: () => ((query.text = controls.text.value), changed()),
  });
  controls.flags = Object.fromEntries(
    Object.entries(FLAGS).map(([flag, label]) => {
      const toggle = () => {
        if (!query.flags.delete(flag)) query.flags.add(flag);
        changed();
      };
      return [
        flag,
        element(
          "button",
          { type: "button", class: "chip", "data-flag": flag, onclick: toggle },
          label,
          " ",
          element("span"),
        ),
      ];
    }),
  );
  controls.count = element("p", { class: "count muted", role: "status" });
  controls.clear = element(
    "button",
    { type: "button", class: "quiet", onclick: () => (clearFilters(), changed()) },
    "Clear",
  );
  bar.replaceChildren(
    controls.text,
    choose("bucket"),
    choose("warning"),
    choose("anchor"),
    choose("sort"),
    element("div", { class: "chips", role: "group", "aria-label": "Show only" }, ...Object.values(controls.flags)),
    controls.clear,
    controls.count,
  );
}

const LABELS = { bucket: "Bucket", warning: "Warning", anchor: "Anchor", sort: "Sort by" };

/** Put the query and the counts into the controls. */
export function showFilters(shown) {
  const count = counts();
  const option = (value, text) => element("option", { value, selected: false }, text);
  const options = {
    bucket: [
      option("", "All buckets"),
      ...dataset.buckets
        .map(({ size }) => sizeName(size))
        .map((name) => option(name, `${name} (${count.bucket.get(name) ?? 0})`)),
    ],
    warning: [
      option("", "All warnings or none"),
      option("any", `Any warning (${count.warned})`),
      ...[...count.warning].sort().map(([kind, number]) => option(kind, `${capital(dataset.kinds[kind] ?? kind)} (${number})`)),
    ],
    anchor: [
      option("", "All anchors"),
      ...ANCHORS.map((name) => option(name, `${name} (${count.anchor.get(name) ?? 0})`)),
    ],
    sort: Object.entries(SORTS).map(([value, text]) => option(value, `Sort: ${text.toLowerCase()}`)),
  };
  for (const [name, list] of Object.entries(options)) {
    const signature = list.map((item) => item.textContent).join("\n");
    if (controls[name].dataset.signature !== signature) controls[name].replaceChildren(...list);
    controls[name].dataset.signature = signature;
    if (query[name] && ![...controls[name].options].some(({ value }) => value === query[name]))
      query[name] = EMPTY[name];
    controls[name].value = query[name];
    controls[name].classList.toggle("active", query[name] !== EMPTY[name]);
  }
  if (controls.text.value !== query.text) controls.text.value = query.text;
  for (const [flag, button] of Object.entries(controls.flags)) {
    const number = count.flags.get(flag) ?? 0;
    button.lastElementChild.textContent = number;
    button.hidden = !dataset.editable && DECISIONS.includes(flag);
    button.setAttribute("aria-pressed", query.flags.has(flag));
    button.classList.toggle("none", number === 0 && !query.flags.has(flag));
  }
  controls.clear.hidden = !filtered();
  const text = shown === samples.length ? `${shown} samples` : `${shown} of ${samples.length} samples`;
  if (controls.count.textContent !== text) controls.count.textContent = text;
}

export function clearFilters() {
  Object.assign(query, { ...EMPTY, sort: query.sort });
  query.flags.clear();
}

export const focusSearch = () => controls.text.focus();

/** Show only one bucket. */
export function onlyBucket(name) {
  clearFilters();
  query.bucket = name;
}

/** The query as the part of the address behind "#". */
export function toHash(extra) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(EMPTY)) if (query[name] !== value) parts.set(name, query[name]);
  if (query.flags.size) parts.set("only", [...query.flags].join(","));
  for (const [name, value] of Object.entries(extra)) if (value) parts.set(name, value);
  return `#${parts}`;
}

/** Read the query from the address; returns what else stands there. */
export function fromHash() {
  const parts = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(EMPTY)) query[name] = parts.get(name) ?? value;
  if (!(query.sort in SORTS)) query.sort = EMPTY.sort;
  query.flags = new Set((parts.get("only") ?? "").split(",").filter((flag) => flag in FLAGS));
  return { open: parts.get("open"), view: parts.get("view") };
}
