// In how many of the captions shown each tag stands; a bar filters the grid, a tag is taken out of all of them or put into all.

import { readOnlyReason } from "./apply.js";
import { editAll } from "./edits.js";
import { element } from "./element.js";
import { announce, notify } from "./notices.js";
import { dataset, lookOf } from "./samples.js";
import { getTokens, withToken, withoutToken } from "./server.js";

const view = document.getElementById("words-view");
const SHOWN = 60;
const LONGEST = 6; // words: what is longer is a sentence
// Over this share a tag becomes part of the trigger; as in datakit/audit/teaching.py.
const FUSED = 0.85;
// Captions with their tokens, as datakit reads them.
const known = new Map();
let wanted = 0;

/** Show the tags of some samples; `onWord` is called with one whose samples are wanted, `undo` takes the last change back. */
export async function showWords(samples, onWord, undo) {
  const captioned = samples.filter((sample) => lookOf(sample).caption && !lookOf(sample).rejected);
  const again = () => showWords(samples, onWord, undo);
  const turn = (wanted += 1);
  if (!view.hasChildNodes()) view.replaceChildren(element("p", { class: "muted" }, "Reading the captions …"));
  try {
    await learn(captioned);
  } catch (error) {
    notify(error.message, { problem: true });
  }
  if (turn !== wanted) return;
  const button = (label, action) => element("button", { type: "button", class: "quiet", onclick: action }, label);
  const hint =
    captioned.length === 0
      ? "No caption is among the pictures shown."
      : `What stands in over ${100 * FUSED} % of them becomes part of the trigger, and no prompt takes it away: take it out where it is not the point, or vary the pictures. `;
  view.replaceChildren(
    element("h2", {}, `Tags of ${counted(captioned.length)}`),
    element("p", { class: "muted" }, hint, dataset.editable && captioned.length > 0 && button("Undo", () => (undo(), again()))),
    element(
      "ul",
      { class: "words" },
      ...commonest(captioned).map(([tag, holding]) => row(tag, holding, captioned, { onWord, again, button })),
    ),
  );
}

function row(tag, holding, captioned, { onWord, again, button }) {
  const share = holding.length / captioned.length;
  const held = new Set(holding);
  const lacking = captioned.filter((sample) => !held.has(sample));
  const bar = element("span", { class: "bar" });
  bar.style.width = `${100 * share}%`;
  const show = { type: "button", class: "row", "aria-label": `${tag}: ${counted(holding.length)}, show them`, onclick: () => onWord(tag) };
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
    dataset.editable && button("Take out", () => change(holding, tag, withoutToken, "taken out of", again)),
    dataset.editable && lacking.length > 0 && button("Put in", () => change(lacking, tag, withToken, "put into", again)),
  );
}

/** Give samples other captions, as one change; those of which nothing would be left stay. */
async function change(samples, tag, how, said, again) {
  if (!dataset.editable) return announce(readOnlyReason());
  let captions;
  try {
    captions = await how(samples.map((sample) => lookOf(sample).caption), tag);
  } catch (error) {
    return notify(error.message, { problem: true });
  }
  const changes = new Map();
  samples.forEach((sample, index) => {
    const caption = captions[index];
    if (caption && caption !== lookOf(sample).caption) changes.set(sample.key, { caption });
  });
  editAll(changes, `“${tag}”`);
  const left = samples.length - changes.size;
  announce(`${tag} ${said} ${counted(changes.size)}${left ? `; it is all that ${counted(left)} ${left > 1 ? "hold" : "holds"}` : ""}`);
  return again();
}

const counted = (number) => `${number} ${number === 1 ? "caption" : "captions"}`;

/** Ask for the tokens of captions that are not known yet. */
async function learn(samples) {
  const fresh = [...new Set(samples.map((sample) => lookOf(sample).caption))].filter((caption) => !known.has(caption));
  const tokens = await getTokens(fresh);
  fresh.forEach((caption, index) => known.set(caption, tokens[index]));
}

/** The tokens that stand in most captions, as they are written first, each with the samples that have it. */
function commonest(samples) {
  const found = new Map();
  for (const sample of samples) {
    const tokens = known.get(lookOf(sample).caption) ?? [];
    for (const [key, token] of new Map(tokens.map((each) => [each.toLowerCase(), each]))) {
      if (token.split(/\s+/).length > LONGEST) continue;
      const row = found.get(key) ?? [token, []];
      row[1].push(sample);
      found.set(key, row);
    }
  }
  return [...found.values()].sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1)).slice(0, SHOWN);
}
