// Build elements without markup in strings, so that no caption or file name is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `on…` attributes are listeners, true and false set or leave out, the rest are attributes. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function drawn(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Draw a bucket as a rectangle of its shape, 18 units wide or high at most. */
export function bucketShape([width, height], long = 18) {
  const scale = long / 1472;
  const [w, h] = [width * scale, height * scale];
  return drawn(
    "svg",
    { class: "shape", viewBox: `0 0 ${long} ${long}`, width: long, height: long, "aria-hidden": "true" },
    drawn("rect", { x: (long - w) / 2, y: (long - h) / 2, width: w, height: h, rx: 1 }),
  );
}

/** Write a size as people say it. */
export const sizeName = ([width, height]) => `${width}×${height}`;
