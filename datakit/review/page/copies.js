// The copies of a picture side by side: captions with the moved tokens marked, and what was done to the pixels.

import { element } from "./element.js";
import { dataset } from "./samples.js";
import { thumbnail } from "./server.js";

// A comma, or a full stop that ends a sentence; only for showing, the shuffled captions are as they were written.
const SEPARATOR = /,|\.+(?=[\s,]|$)/;

const tokensOf = (caption) =>
  caption
    .split(SEPARATOR)
    .map((token) => token.trim())
    .filter(Boolean);

/** Return a card for each copy of a sample. */
export function copiesOf(sample) {
  if (sample.copies.length === 0) return [element("p", { class: "muted" }, "This picture has no copies.")];
  const order = tokensOf(sample.copies[0].caption);
  return [
    element(
      "p",
      { class: "muted legend" },
      element("mark", { class: "token moved" }, "marked"),
      " tokens stand elsewhere than in the first copy",
    ),
    ...sample.copies.map((copy, index) => copyCard(copy, index, order)),
  ];
}

function copyCard(copy, index, order) {
  const lines = copy.caption.split(/\r?\n/).filter((line) => line.trim());
  const changes = Object.entries(copy.augmentation ?? {});
  return element(
    "article",
    { class: "copy" },
    element("img", {
      alt: `Copy ${index + 1}`,
      src: thumbnail(copy.key, "output", dataset.version),
      loading: "lazy",
      decoding: "async",
    }),
    element("h3", {}, copy.output),
    changes.length > 0 &&
      element(
        "p",
        { class: "badges" },
        ...changes.map(([name, value]) => element("span", { class: "badge note" }, wording(name, value))),
      ),
    ...(lines.length ? lines : [""]).map((line) => caption(line, order)),
    missing(lines, order),
  );
}

function caption(line, order) {
  const tokens = tokensOf(line);
  const parts = tokens.flatMap((token, index) => [
    element(
      order[index] === token ? "span" : "mark",
      { class: order[index] === token ? "token" : "token moved" },
      token,
    ),
    index < tokens.length - 1 ? ", " : "",
  ]);
  return element(
    "p",
    { class: "tokens" },
    ...(parts.length ? parts : [element("span", { class: "muted" }, "no caption")]),
  );
}

function missing(lines, order) {
  const there = new Set(lines.flatMap(tokensOf));
  const gone = order.filter((token) => !there.has(token));
  return gone.length > 0 && element("p", { class: "muted gone" }, `left out: ${gone.join(", ")}`);
}

function wording(name, value) {
  if (value === true) return name;
  const figures = (Array.isArray(value) ? value : [value]).map((figure) =>
    typeof figure === "number" ? Number(figure.toFixed(3)) : figure,
  );
  return `${name} ${figures.join(" ")}`;
}
