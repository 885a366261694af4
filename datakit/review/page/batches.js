// The buckets as a histogram, and how a trainer would cut them into batches.

import { bucketShape, element, sizeName } from "./element.js";
import { dataset } from "./samples.js";
import { getDataset, Unreachable } from "./server.js";

const view = document.getElementById("plan-view");
const asked = { batch: 4, gpus: 1, accumulate: 1 };
const LABELS = { batch: "Batch size", gpus: "GPUs", accumulate: "Accumulation" };

/** Show the view; `onBucket` is called with the name of a bucket whose samples are wanted. */
export function showBatches(onBucket) {
  const table = element("div", { class: "table", "aria-live": "polite" });
  let timer = 0;
  const field = (name) =>
    element(
      "label",
      {},
      LABELS[name],
      element("input", {
        type: "number",
        min: 1,
        max: 4096,
        step: 1,
        value: asked[name],
        name,
        inputmode: "numeric",
        oninput: (event) => {
          const value = Number(event.target.value);
          if (!event.target.validity.valid || !Number.isInteger(value) || value < 1) return;
          asked[name] = value;
          clearTimeout(timer);
          timer = setTimeout(() => fillTable(table), 250);
        },
      }),
    );
  view.replaceChildren(
    element("h2", {}, "Buckets"),
    histogram(onBucket),
    element("h2", {}, "Batches"),
    element("div", { class: "fields" }, ...Object.keys(LABELS).map(field)),
    table,
  );
  fillTable(table);
}

function histogram(onBucket) {
  const most = Math.max(1, ...dataset.buckets.map(({ pictures }) => pictures));
  return element(
    "ul",
    { class: "histogram" },
    ...dataset.buckets.map(({ size, pictures }) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${(100 * pictures) / most}%`;
      return element(
        "li",
        {},
        element(
          "button",
          {
            type: "button",
            class: "row",
            disabled: pictures === 0,
            "aria-label": `${sizeName(size)}: ${pictures} pictures, show them`,
            onclick: () => onBucket(sizeName(size)),
          },
          bucketShape(size, 22),
          element("span", { class: "bucket" }, sizeName(size)),
          element("span", { class: "track" }, bar),
          element("span", { class: "number" }, String(pictures)),
        ),
      );
    }),
  );
}

async function fillTable(table) {
  const mine = { ...asked };
  let batches;
  try {
    ({ batches } = await getDataset(mine));
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    table.replaceChildren(element("p", { class: "problem" }, error.message));
    return;
  }
  // An answer to figures that were changed since is late.
  if (Object.keys(asked).some((name) => asked[name] !== mine[name])) return;
  table.replaceChildren(
    ...(batches ? tableOf(batches) : [element("p", { class: "muted" }, "No batches: the dataset has no pictures.")]),
  );
}

function tableOf({ rows, steps }) {
  const head = ["Bucket", "Pictures", "Micro-batches", "Padded", ""];
  const small = rows.filter((row) => row.too_small).length;
  const row = (each) =>
    element(
      "tr",
      { class: each.too_small ? "small" : "" },
      element("th", { scope: "row" }, bucketShape(each.bucket, 14), sizeName(each.bucket)),
      ...[each.pictures, each.micro_batches, each.padded].map((figure) => element("td", {}, String(figure))),
      element("td", {}, each.too_small ? element("span", { class: "badge warn" }, "too small for a batch") : ""),
    );
  return [
    element("p", { class: "steps" }, element("strong", {}, String(steps)), " optimizer steps an epoch"),
    small > 0 &&
      element(
        "p",
        { class: "problem" },
        `Too few pictures for one step, so that a trainer stops or drops them: ${small} ${small === 1 ? "bucket" : "buckets"}.`,
      ),
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map(row)),
    ),
  ].filter(Boolean);
}
