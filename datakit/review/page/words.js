// In how many of the captions shown each tag stands; a bar filters the grid, a tag is taken out of all of them or put into all.

import { readOnlyReason } from "./apply.js";
import { editAll } from "./edits.js";
import { element } from "./element.js";
import { announce } from "./notices.js";
import { dataset, lookOf } from "./samples.js";

const view = document.getElementById("words-view");
const SHOWN = 60;
const LONGEST = 6; // words: what is longer is a sentence
// Over this share a tag becomes part of the trigger; as in datakit/audit/teaching.py.
const FUSED = 0.85;
const OPENING = "([{（「『“";
const CLOSING = ")]}）」』”";
const COMMAS = ",，、،；";

/** Show the tags of some samples; `onWord` is called with one whose samples are wanted, `undo` takes the last change back. */
export function showWords(samples, onWord, undo) {
  const captioned = samples.filter((sample) => lookOf(sample).caption && !lookOf(sample).rejected);
  const again = () => showWords(samples, onWord, undo);
  const rows = commonest(captioned);
  const button = (label, action) => element("button", { type: "button", class: "quiet", onclick: action }, label);
  view.replaceChildren(
    element("h2", {}, `Tags of ${captioned.length} captions`),
    element(
      "p",
      { class: "muted" },
      `What stands in over ${100 * FUSED} % of them becomes part of the trigger, and no prompt takes it away: take it out where it is not the point, or vary the pictures. `,
      dataset.editable && button("Undo", () => (undo(), again())),
    ),
    element(
      "ul",
      { class: "words" },
      ...rows.map(([tag, count]) => row(tag, count, captioned, { onWord, again, button })),
    ),
  );
}

function row(tag, count, captioned, { onWord, again, button }) {
  const share = count / captioned.length;
  const bar = element("span", { class: "bar" });
  bar.style.width = `${100 * share}%`;
  const show = { type: "button", class: "row", "aria-label": `${tag}: ${count} captions, show them`, onclick: () => onWord(tag) };
  return element(
    "li",
    { class: share > FUSED ? "fused" : "" },
    element(
      "button",
      show,
      element("span", { class: "tag" }, tag),
      element("span", { class: "track" }, bar),
      element("span", { class: "number" }, `${Math.round(100 * share)} %`),
    ),
    dataset.editable && button("Take out", () => (change(captioned, tag, taken, "taken out of"), again())),
    dataset.editable && count < captioned.length && button("Put in", () => (change(captioned, tag, put, "put into"), again())),
  );
}

/** Give samples other captions, as one change. */
function change(samples, tag, how, said) {
  if (!dataset.editable) return announce(readOnlyReason());
  const changes = new Map();
  for (const sample of samples) {
    const before = lookOf(sample).caption;
    const after = how(before, tag);
    if (after && after !== before) changes.set(sample.key, { caption: after });
  }
  editAll(changes, `“${tag}”`);
  announce(`${tag} ${said} ${changes.size} captions`);
  return undefined;
}

const same = (one, other) => one.trim().toLowerCase() === other.toLowerCase();
const perLine = (caption, how) =>
  caption
    .split("\n")
    .map(how)
    .filter(Boolean)
    .join("\n");

const taken = (caption, tag) =>
  perLine(caption, (line) =>
    pieces(line)
      .filter((piece) => !same(piece, tag))
      .join(",")
      .trim()
      .replace(/^,\s*/, ""),
  );

const put = (caption, tag) =>
  perLine(caption, (line) => (pieces(line).some((piece) => same(piece, tag)) ? line : `${line.replace(/,\s*$/, "")}, ${tag}`));

/** The tags that stand in most captions, as they are written first, each with its number of captions. */
function commonest(samples) {
  const found = new Map();
  for (const sample of samples) {
    const tags = new Map();
    for (const line of lookOf(sample).caption.split("\n"))
      for (const piece of pieces(line).map((each) => each.trim())) if (piece) tags.set(piece.toLowerCase(), piece);
    for (const [key, piece] of tags) {
      if (piece.split(/\s+/).length > LONGEST) continue;
      const known = found.get(key) ?? [piece, 0];
      found.set(key, [known[0], known[1] + 1]);
    }
  }
  return [...found.values()].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, SHOWN);
}

/** The pieces of a caption between its commas; none inside of brackets or quotation marks that are closed again. */
function pieces(line) {
  const cuts = [];
  const open = [];
  let inside = [];
  [...line.matchAll(/\\.|./gsu)].forEach(({ 0: sign, index }) => {
    if (OPENING.includes(sign) || (sign === '"' && !open.some(([each]) => each === '"'))) open.push([sign, index]);
    else if (CLOSING.includes(sign) || sign === '"') {
      const at = open.findLastIndex(([each]) => each === (sign === '"' ? sign : OPENING[CLOSING.indexOf(sign)]));
      if (at >= 0) inside = [...inside, [open[at][1], index]];
      if (at >= 0) open.length = at;
    } else if (COMMAS.includes(sign) && !/^\d{3}(?!\d)/.test(line.slice(index + 1))) cuts.push(index);
  });
  const outside = cuts.filter((cut) => !inside.some(([start, end]) => start < cut && cut < end));
  return [...outside, line.length].map((cut, number) => line.slice(number ? outside[number - 1] + 1 : 0, cut));
}
