// The page: state, pointer, keys, address. #colour=layer&find=gla&core=17&link=9&view=x,y,scale&theme=dark

const head = JSON.parse(document.getElementById("head").textContent);
const model = modelOf(head, await unpack(document.getElementById("data").textContent, head.columns));
const board = boardOf(model.mesh);
const $ = (id) => document.getElementById(id);
const canvas = $("board"), modes = modesOf(model), words = wordsOf(model, board);

const chipOf = (core) => board.placeOf(board.routerOf(model.core_number[core])).chip;
const coresOn = new Map(); // "column,row" of a chip -> its cores
for (let core = 0; core < model.n; core++) {
  const key = String(chipOf(core));
  if (!coresOn.has(key)) coresOn.set(key, []);
  coresOn.get(key).push(core);
}
const usedChips = [...coresOn.keys()].map((key) => key.split(",").map(Number));
const linesOf = (core) => [
  String(model.core_number[core]), ...model.tasksOf(core).map((task) => task.name.replace(/^layers\./, "")),
];
const paintBoard = painter(canvas, $("over"), model, board, usedChips, linesOf);
const far = [0, 1].map((i) => Math.max(...usedChips.map((chip) => (chip[i] + 1) * board.pitch[i])) + board.gap);
const near = [board.host[0] - board.gap, -0.5 * board.gap];

const system = matchMedia("(prefers-color-scheme: dark)");
const asked = new URLSearchParams(location.hash.slice(1));
const systemTheme = () => (system.matches ? "dark" : "light");
const scene = { theme: asked.get("theme") === "dark" ? "dark" : "light", hover: null, pin: null, focus: null, senders: [] };
if (!asked.has("theme")) scene.theme = systemTheme();

// ---- view
function fit() {
  scene.view = {
    x: (near[0] + far[0]) / 2, y: (near[1] + far[1]) / 2,
    scale: 0.97 * Math.min(canvas.clientWidth / (far[0] - near[0]), canvas.clientHeight / (far[1] - near[1])),
  };
}
function zoom(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
  const [x, y] = toBoard(px, py), { view } = scene;
  view.scale = Math.min(420, Math.max(0.5, view.scale * factor));
  view.x = x - (px - canvas.clientWidth / 2) / view.scale;
  view.y = y - (py - canvas.clientHeight / 2) / view.scale;
  changed();
}
function move(dx, dy) {
  scene.view.x += dx / scene.view.scale;
  scene.view.y += dy / scene.view.scale;
  changed();
}
function toBoard(px, py) {
  const { view } = scene;
  return [(px - canvas.clientWidth / 2) / view.scale + view.x, (py - canvas.clientHeight / 2) / view.scale + view.y];
}
function lookAt([x, y], extent) {
  fit();
  scene.view = { x, y, scale: Math.max(scene.view.scale, Math.min(canvas.clientWidth, canvas.clientHeight) / extent) };
}

const due = {}; // what is to be drawn again: "base", "over"
let later;
function changed(...sheets) {
  for (const sheet of sheets.length ? sheets : ["base", "over"]) {
    if (due[sheet]) continue;
    due[sheet] = true;
    requestAnimationFrame(() => { due[sheet] = false; paintBoard[sheet](scene); });
  }
  clearTimeout(later);
  later = setTimeout(remember, 400); // browsers allow few changes of the address
}
function remember() {
  const { view, pin } = scene, found = new URLSearchParams({ colour: $("colour").value });
  if ($("find").value) found.set("find", $("find").value);
  if (pin?.core >= 0) found.set("core", model.core_number[pin.core]);
  if (pin?.link !== undefined) found.set("link", pin.link);
  found.set("view", [view.x, view.y, view.scale].map((v) => v.toFixed(2)).join(","));
  if (document.documentElement.dataset.theme) found.set("theme", scene.theme);
  history.replaceState(null, "", "#" + found);
}

// ---- colours
function recolour() {
  const mode = modes.find((m) => m.key === $("colour").value);
  document.documentElement.style.colorScheme = scene.theme;
  scene.paint = paint(model, mode, scene.theme);
  scene.flow = ramp(SHADES[scene.theme].link);
  scene.order = scene.paint.colours.map(() => []);
  scene.paint.bucket.forEach((b, core) => scene.order[b].push(core));
  $("legend").replaceChildren(...legendOf(model, mode, scene.paint, find));
  flowLegend();
  changed();
}
function flowLegend() {
  const rows = [["chip", "chip links"], ["mesh", "links on a chip"]].filter(([kind]) => paintBoard.scales[kind].most > 0);
  $("flow").replaceChildren(...rows.flatMap(([kind, name]) => {
    const { least, most } = paintBoard.scales[kind];
    const ends = [si(least, "bit"), name, si(most, "bit")].map((text) => element("span", text));
    return [rampOf(scene.flow), element("div", ends, { class: "ends" })];
  }));
}

// ---- search, and what is picked
function find(text) {
  scene.pin = null;
  $("find").value = text;
  refocus();
}
function refocus() {
  const found = model.search($("find").value), { pin } = scene;
  $("found").textContent = !found ? "" : !found.cores ? "no such operation or task"
    : `${plural(found.ops.length, "operation")} on ${plural(found.cores, "core")}`;
  scene.focus = found?.flags ?? null;
  scene.senders = [];
  if (pin) {
    const own = pin.core >= 0;
    scene.senders = own ? model.sendersTo(pin.core) : model.usersOf(pin.link);
    scene.focus = new Uint8Array(model.n + 1);
    for (const core of scene.senders) scene.focus[core] = 1;
    if (own) for (const core of [pin.core, ...model.reachedBy(pin.core)]) scene.focus[core] = 1;
  }
  $("picked").hidden = !pin;
  if (pin) $("words").replaceChildren(...wordsFor(pin));
  changed();
}
function pick(what) {
  scene.pin = what && (what.core >= 0 || model.linkAt.has(what.link)) ? what : null;
  refocus();
}
function goToLink(number) {
  const { from, to, kind } = board.linkOf(number);
  lookAt([(from[0] + to[0]) / 2, (from[1] + to[1]) / 2], kind === "mesh" ? 6 : 3.2 * Math.max(...board.pitch));
  pick({ core: -1, link: number });
}

// ---- pointer
function under(px, py) {
  const found = board.at(...toBoard(px, py), board.insetAt(scene.view.scale));
  const core = found.host ? model.n : found.core === undefined ? -1 : model.indexOf.get(found.core) ?? -1;
  const link = found.link !== undefined && (scene.view.scale > 14 || !inMesh(found.link)) ? found.link : undefined;
  return { ...found, core, link: core < 0 && model.linkAt.has(link) ? link : undefined };
}
const inMesh = (link) => board.linkOf(link).kind === "mesh";
function tell(px, py) {
  const what = under(px, py), tip = $("tip"), picked = same(what, scene.pin);
  const content = picked ? [] : wordsFor(what);
  canvas.style.cursor = what.core >= 0 || what.link !== undefined ? "pointer" : "grab";
  const before = scene.hover;
  scene.hover = !picked && (what.core >= 0 || what.link !== undefined) ? what : null;
  if (!same(before, scene.hover)) changed("over");
  tip.hidden = !content.length;
  if (!content.length) return;
  tip.replaceChildren(...content);
  const right = px + 18 + tip.offsetWidth > canvas.clientWidth;
  tip.style.left = `${Math.max(4, right ? px - 18 - tip.offsetWidth : px + 18)}px`;
  tip.style.top = `${Math.max(4, Math.min(py + 12, canvas.clientHeight - tip.offsetHeight - 4))}px`;
}
function wordsFor({ core, link, chip, gateway }) {
  if (core >= 0) return words.core(core);
  if (link !== undefined) return words.link(link);
  return coresOn.has(String(chip)) ? words.chip(chip, coresOn.get(String(chip)), gateway) : [];
}
const same = (a, b) => a?.core === b?.core && a?.link === b?.link;
function quiet() { $("tip").hidden = true; scene.hover = null; changed("over"); }

const held = new Map(); // pointers that are down
let moved = 0;
canvas.onpointerdown = (e) => { held.set(e.pointerId, e); moved = 0; canvas.setPointerCapture(e.pointerId); };
canvas.onpointermove = (e) => {
  const before = held.get(e.pointerId);
  if (!before) return tell(e.offsetX, e.offsetY);
  const [dx, dy] = [e.offsetX - before.offsetX, e.offsetY - before.offsetY];
  const other = [...held.values()].find((p) => p.pointerId !== e.pointerId);
  moved += Math.abs(dx) + Math.abs(dy);
  if (other) {
    const apart = (p) => Math.hypot(p.offsetX - other.offsetX, p.offsetY - other.offsetY);
    zoom(apart(e) / Math.max(1, apart(before)), other.offsetX, other.offsetY);
  } else if (moved > 4) {
    quiet();
    move(-dx, -dy);
  }
  held.set(e.pointerId, e);
};
canvas.onpointerup = (e) => {
  held.delete(e.pointerId);
  if (moved > 4) return;
  pick(under(e.offsetX, e.offsetY));
  tell(e.offsetX, e.offsetY);
};
canvas.onpointercancel = (e) => held.delete(e.pointerId);
canvas.onpointerleave = quiet;
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0016)), e.offsetX, e.offsetY);
  tell(e.offsetX, e.offsetY);
}, { passive: false });
canvas.ondblclick = (e) => zoom(2, e.offsetX, e.offsetY);

const KEYS = {
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: () => { fit(); changed(); },
  Escape: () => find(""), "/": () => $("find").focus(),
  ArrowLeft: () => move(-80, 0), ArrowRight: () => move(80, 0), ArrowUp: () => move(0, -80), ArrowDown: () => move(0, 80),
};
addEventListener("keydown", (e) => {
  if (/^(INPUT|SELECT)$/.test(e.target.tagName) ? e.key !== "Escape" : !KEYS[e.key] || e.ctrlKey || e.metaKey) return;
  e.preventDefault();
  KEYS[e.key]();
});

// ---- the panel
for (const group of [...new Set(modes.map((m) => m.group))]) {
  const options = modes.filter((m) => m.group === group).map((m) => element("option", m.name, { value: m.key }));
  $("colour").append(element("optgroup", options, { label: group }));
}
$("names").append(...[...new Set([...model.kinds, ...model.ops])].map((name) => element("option", "", { value: name })));
$("colour").onchange = recolour;
$("find").oninput = () => find($("find").value);
$("clear").onclick = () => pick(null);
$("in").onclick = KEYS["+"];
$("out").onclick = KEYS["-"];
$("fit").onclick = KEYS[0];
function setTheme(theme) {
  document.documentElement.dataset.theme = scene.theme = theme;
  recolour();
}
$("theme").onclick = () => setTheme(scene.theme === "dark" ? "light" : "dark");
system.onchange = () => {
  if (document.documentElement.dataset.theme) return;
  scene.theme = systemTheme();
  recolour();
};
for (const row of document.querySelectorAll("[data-link]")) {
  row.onclick = () => goToLink(Number(row.dataset.link));
}
new ResizeObserver(() => changed()).observe(canvas);

// ---- as the address asks
const number = (name) => Number(asked.get(name) ?? NaN);
if (asked.has("theme")) document.documentElement.dataset.theme = scene.theme;
if (modes.some((m) => m.key === asked.get("colour"))) $("colour").value = asked.get("colour");
$("find").value = asked.get("find") ?? "";
fit();
recolour();
const [core, link] = [model.indexOf.get(number("core")), number("link")];
if (core !== undefined) {
  lookAt(board.centreOf(board.routerOf(model.core_number[core])), 2 * Math.max(...board.pitch));
  pick({ core, link: undefined });
} else if (model.linkAt.has(link)) goToLink(link);
else refocus();
const view = (asked.get("view") ?? "").split(",").map(Number);
if (view.length === 3 && view.every(Number.isFinite) && view[2] > 0) {
  scene.view = { x: view[0], y: view[1], scale: view[2] };
}
document.body.classList.add("ready");
