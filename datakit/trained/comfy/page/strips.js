// The viewer: one picture as large as the window, arrow keys along the strip and across rows, zoom, and a slider between two columns.

const rows = [...document.querySelectorAll(".row")].map((row) => ({
  places: [...row.querySelectorAll(".place")].map((place) => ({
    element: place,
    label: place.querySelector(".label").textContent,
    link: place.querySelector(".picture"),
    why: place.querySelector(".failed")?.textContent ?? "",
    figures: place.querySelector(".figures")?.textContent ?? "",
  })),
  prompt: `${row.querySelector(".prompt").textContent} · ${row.querySelector(".seed").textContent}`,
}));
const viewer = document.querySelector(".viewer");
const find = (selector) => viewer.querySelector(selector);
const stage = find(".stage");
const board = find(".board");
const [first, second] = [find("img.one"), find("img.two")];
const range = find("input[type=range]");
const choices = [document.querySelector("#one"), document.querySelector("#two")];
const at = { row: 0, column: 0, slider: false, zoom: 1, x: 0, y: 0 };

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function put(image, place) {
  const there = Boolean(place.link);
  image.hidden = !there;
  if (there && image.getAttribute("src") !== place.link.getAttribute("href")) image.src = place.link.getAttribute("href");
  image.alt = place.label;
}

function columns() {
  return at.slider ? choices.map((choice) => Number(choice.value)) : [at.column, at.column];
}

function show() {
  const row = rows[at.row];
  const [left, right] = columns().map((column) => row.places[column]);
  put(first, left);
  put(second, right);
  second.hidden = second.hidden || !at.slider;
  const split = at.slider ? Number(range.value) : 100;
  second.style.clipPath = `inset(0 0 0 ${split}%)`;
  first.style.clipPath = at.slider && right.link ? `inset(0 ${100 - split}% 0 0)` : "";
  find(".divider").hidden = !at.slider;
  find(".divider").style.left = `${(split / 100) * stage.clientWidth * at.zoom + at.x}px`;
  for (const [name, place] of [["one", left], ["two", right]]) {
    const tag = find(`.tag.${name}`);
    tag.textContent = place.label;
    tag.hidden = !at.slider;
  }
  const gone = [left, right].find((place) => !place.link);
  find(".gone").hidden = !gone;
  find(".gone").textContent = gone ? `${gone.label}: ${gone.why}` : "";
  find("h2").textContent = at.slider ? `${left.label} | ${right.label}` : left.label;
  find(".told").textContent = `${row.prompt}${at.slider || !left.figures ? "" : ` · ${left.figures}`}`;
  range.hidden = !at.slider;
  find(".slide").setAttribute("aria-pressed", String(at.slider));
  stage.classList.toggle("sliding", at.slider && at.zoom === 1);
  board.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.zoom})`;
  find(".size").textContent = `${Math.round(scale() * 100)} %`;
}

// Of the picture's own pixels, how large one is on the screen.
function scale() {
  if (!first.naturalWidth) return at.zoom;
  return at.zoom * Math.min(stage.clientWidth / first.naturalWidth, stage.clientHeight / first.naturalHeight);
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const next = clamp(at.zoom * factor, 1, 40);
  at.x = clamp(x - ((x - at.x) * next) / at.zoom, stage.clientWidth * (1 - next), 0);
  at.y = clamp(y - ((y - at.y) * next) / at.zoom, stage.clientHeight * (1 - next), 0);
  at.zoom = next;
  show();
}

function pan(x, y) {
  at.x = clamp(at.x + x, stage.clientWidth * (1 - at.zoom), 0);
  at.y = clamp(at.y + y, stage.clientHeight * (1 - at.zoom), 0);
  show();
}

function open(row, column, slider) {
  Object.assign(at, { row, column, slider, zoom: 1, x: 0, y: 0 });
  if (!viewer.open) viewer.showModal();
  show();
  (slider ? range : stage).focus();
}

// Along the strip and across rows; zoom and place stay, so that the same spot is compared.
function move(right, down) {
  at.row = clamp(at.row + down, 0, rows.length - 1);
  const places = rows[at.row].places.length;
  if (at.slider) {
    choices[1].value = String(clamp(Number(choices[1].value) + right, 0, places - 1));
  } else {
    at.column = clamp(at.column + right, 0, places - 1);
  }
  show();
}

function slide(to) {
  range.value = String(clamp(to, 0, 100));
  show();
}

rows.forEach((row, number) =>
  row.places.forEach((place, column) =>
    place.link?.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(number, column, false);
    }),
  ),
);
document.querySelector("#slide").addEventListener("click", () => open(0, 0, true));
for (const choice of choices) choice.addEventListener("change", show);
range.addEventListener("input", show);
for (const image of [first, second]) image.addEventListener("load", show);
addEventListener("resize", () => viewer.open && zoom(1));

const buttons = {
  ".before": () => move(-1, 0),
  ".after": () => move(1, 0),
  ".larger": () => zoom(1.5),
  ".smaller": () => zoom(1 / 1.5),
  ".slide": () => {
    if (!at.slider && at.column !== Number(choices[0].value)) choices[1].value = String(at.column);
    at.slider = !at.slider;
    show();
  },
  ".close": () => viewer.close(),
};
for (const [name, act] of Object.entries(buttons)) find(name).addEventListener("click", act);

viewer.addEventListener("close", () => rows[at.row].places[at.column].link?.focus());
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const sliding = document.activeElement === range;
  const keys = {
    ArrowLeft: () => (sliding ? slide(Number(range.value) - 2) : move(-1, 0)),
    ArrowRight: () => (sliding ? slide(Number(range.value) + 2) : move(1, 0)),
    ArrowUp: () => move(0, -1),
    ArrowDown: () => move(0, 1),
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    0: () => zoom(0),
    1: () => zoom(at.zoom / scale()),
    s: buttons[".slide"],
  };
  if (!(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
stage.addEventListener("dblclick", (event) => {
  const box = stage.getBoundingClientRect();
  const whole = at.zoom === 1;
  zoom(whole ? Math.max(2, 1 / scale()) : 0, event.clientX - box.left, event.clientY - box.top);
});

// One finger or the mouse pans, or moves the slider where nothing is enlarged; two fingers zoom.
const fingers = new Map();
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  if (at.slider && at.zoom === 1 && fingers.size === 1) slide(share(event));
});
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
  fingers.set(event.pointerId, event);
  if (other) {
    const box = stage.getBoundingClientRect();
    const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY) || 1;
    zoom(apart(event) / apart(before), (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
  } else if (at.slider && at.zoom === 1) {
    slide(share(event));
  } else {
    pan(event.clientX - before.clientX, event.clientY - before.clientY);
  }
});
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => fingers.delete(event.pointerId));

function share(event) {
  const box = stage.getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * 100;
}

if (document.body.dataset.slider) open(0, 0, true);
document.body.dataset.ready = "true";
