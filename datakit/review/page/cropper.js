// The large source with its crop box: dragged by the pointer, aspect locked, never outside the picture.

import { dragged, moved } from "./boxes.js";
import { drawn, element } from "./element.js";
import { drawOverlay } from "./grid.js";
import { dataset, limitOf } from "./samples.js";
import { picture } from "./server.js";

const CORNERS = { nw: "Top left", ne: "Top right", sw: "Bottom left", se: "Bottom right" };

/**
 * Make the stage of a sample. `onDrag(box)` is called while the box is dragged, `onDrop(box)` once it is let go.
 * Returns the node, `show(look)` and `showHeat(on)`.
 */
export function makeCropper(sample, { onDrag, onDrop }) {
  const image = element("img", {
    alt: `Source picture ${sample.id}`,
    src: picture(sample.key, "source", 0),
    draggable: "false",
  });
  const overlay = drawn("svg", { class: "overlay", preserveAspectRatio: "none", "aria-hidden": "true" });
  const handles = Object.keys(CORNERS).map((corner) =>
    element("span", { class: `handle ${corner}`, "data-corner": corner }),
  );
  const box = element(
    "div",
    { class: "box", tabindex: dataset.editable ? 0 : null, role: "group", "aria-roledescription": "crop box" },
    ...handles,
  );
  const canvas = element("div", { class: "canvas" }, image, overlay, box);
  const stage = element("div", { class: "stage" }, canvas);
  let look = null;
  let drag = null;

  const fit = () => {
    const scale = Math.min(stage.clientWidth / sample.size[0], stage.clientHeight / sample.size[1]);
    canvas.style.width = `${Math.max(1, sample.size[0] * scale)}px`;
    canvas.style.height = `${Math.max(1, sample.size[1] * scale)}px`;
  };
  new ResizeObserver(fit).observe(stage);
  image.addEventListener("load", () => canvas.classList.add("loaded"));
  image.addEventListener("error", () => canvas.classList.add("missing"));

  const draw = (now) => {
    drawOverlay(overlay, sample, now);
    box.hidden = !now.box;
    if (!now.box) return;
    const [width, height] = sample.size;
    box.style.left = `${(100 * now.box[0]) / width}%`;
    box.style.top = `${(100 * now.box[1]) / height}%`;
    box.style.width = `${(100 * (now.box[2] - now.box[0])) / width}%`;
    box.style.height = `${(100 * (now.box[3] - now.box[1])) / height}%`;
    box.dataset.box = now.box.join(" ");
    box.setAttribute(
      "aria-label",
      `Crop box from ${now.box[0]}, ${now.box[1]} to ${now.box[2]}, ${now.box[3]} of ${width} by ${height}`,
    );
  };

  const point = (event) => {
    const area = canvas.getBoundingClientRect();
    return [
      ((event.clientX - area.left) * sample.size[0]) / area.width,
      ((event.clientY - area.top) * sample.size[1]) / area.height,
    ];
  };

  box.addEventListener("pointerdown", (event) => {
    if (!dataset.editable || event.button !== 0 || drag) return;
    event.preventDefault();
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    drag = {
      pointer: event.pointerId,
      from: point(event),
      start: look.box,
      corner: event.target.dataset.corner,
      box: look.box,
    };
    box.classList.add("dragging");
  });
  box.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.pointer) return;
    const [x, y] = point(event);
    const [dx, dy] = [x - drag.from[0], y - drag.from[1]];
    drag.box = drag.corner
      ? dragged(
          drag.start,
          drag.corner,
          cornerAt(drag.start, drag.corner, dx, dy),
          sample.size,
          look.bucket,
          limitOf(sample),
        )
      : moved(drag.start, dx, dy, sample.size);
    draw(onDrag(drag.box));
  });
  const drop = (event) => {
    if (event.pointerId !== drag?.pointer) return;
    const { box: dropped, start } = drag;
    drag = null;
    box.classList.remove("dragging");
    if (event.type === "pointerup" && dropped.join() !== start.join()) onDrop(dropped);
    else draw(onDrag(look.box));
  };
  box.addEventListener("pointerup", drop);
  box.addEventListener("pointercancel", drop);

  const layers = new Map(); // what was laid over the picture, by its address
  return {
    node: stage,
    show(now) {
      look = now;
      // A drag goes on from where the pointer is; what was saved meanwhile is laid over when it ends.
      if (!drag) draw(now);
      box.classList.toggle("fixed", !dataset.editable);
    },
    /** Lay one picture over the source, or none (null). */
    showLayer(address, failed) {
      for (const [known, layer] of layers) layer.hidden = known !== address;
      if (!address || layers.has(address)) return;
      const layer = element("img", { class: "layer", alt: "", src: address, draggable: "false" });
      layer.addEventListener("error", () => (layer.remove(), layers.delete(address), failed()));
      layers.set(address, layer);
      image.after(layer);
    },
  };
}

function cornerAt(box, corner, dx, dy) {
  return [(corner.includes("e") ? box[2] : box[0]) + dx, (corner.includes("s") ? box[3] : box[1]) + dy];
}
