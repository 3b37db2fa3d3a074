// How cores and links get their colours: by layer, by operation, by what is used, by traffic.

const STEPS = 32; // of a ramp
const SHADES = {
  light: {
    core: ["#dfe9f5", "#7fb0e3", "#2468b4", "#0a2a55"],
    link: ["#f6dfbb", "#eda13c", "#cf4c1b", "#7c1215"],
    none: "#c3cad3",
  },
  dark: {
    core: ["#1c2b3f", "#27599b", "#4a9bea", "#d6ecff"],
    link: ["#3d2a17", "#a8561a", "#f09a36", "#ffe9bd"],
    none: "#4a5460",
  },
};
const HUES = [
  "#8a95a3", "#e0b13a", "#2fa58b", "#d9544f", "#8d6bd0", "#f08fb0", "#3f7fd6",
  "#e8843a", "#6fae3f", "#3fb3cf", "#b04a9a", "#b5803a", "#c2566a", "#5a5fb8",
];
const RAINBOW = [
  "#5b4bc4", "#3778d6", "#2ba3c4", "#32ab7c", "#7fb640", "#d9b52f", "#ea8a2d", "#dd5347", "#c44a8f",
];

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const css = (c) => `rgb(${c.map(Math.round)})`;
const between = (a, b, f) => a.map((v, i) => v + (b[i] - v) * f);

// Colour at 0 .. 1 along some colours.
function along(stops, f) {
  const at = Math.min(stops.length - 1.000001, Math.max(0, f) * (stops.length - 1)), i = Math.floor(at);
  return between(rgb(stops[i]), rgb(stops[i + 1]), at - i);
}
const ramp = (stops) => Array.from({ length: STEPS }, (_, i) => css(along(stops, i / (STEPS - 1))));
const isDark = (colour) => { // whether white text is read more easily on it
  const [r, g, b] = colour.match(/\d+/g).map(Number);
  return 0.3 * r + 0.59 * g + 0.11 * b < 140;
};

// Layers follow each other along the rainbow; every second one is darker, so that borders show.
function layerColours(n) {
  return Array.from({ length: n }, (_, i) => {
    const c = along(RAINBOW, n > 1 ? i / (n - 1) : 0);
    return css(i % 2 ? between(c, [0, 0, 0], 0.22) : between(c, [255, 255, 255], 0.08));
  });
}

// A scale from the least to the most of some values: "linear" and "root" from 0, or "log".
function scaleOf(values, shape) {
  let most = 0, least = Infinity;
  for (const v of values) { most = Math.max(most, v); if (v > 0) least = Math.min(least, v); }
  if (!most) return { least: 0, most: 0, of: () => 0, at: () => 0 };
  if (shape !== "log") {
    const power = shape === "root" ? 0.5 : 1;
    return { least: 0, most, of: (v) => (v / most) ** power, at: (f) => most * f ** (1 / power) };
  }
  least = Math.min(Math.max(least, most / 1e4), most / 10);
  const range = Math.log(most / least);
  return { least, most, of: (v) => (v > least ? Math.log(v / least) / range : 0), at: (f) => least * Math.exp(f * range) };
}

// Ways to colour cores: {key, name, group} and either categories or values on a scale.
function modesOf(model) {
  const traffic = { group: `Traffic per ${model.unit}`, unit: "bit", shape: "log" };
  const full = model.resources.map(({ name, limit, unit, of }, i) => (
    { key: name.replace(/\W+/g, "-"), name, group: "How full", of: model.used(i), shape: "linear", limit, unit, per: of }
  ));
  const layers = model.layers.some((layer) => layer >= 0) ? [{ key: "layer", name: "Layer", group: "Operation" }] : [];
  return [
    ...layers,
    { key: "weights", name: "Weights of", group: "Operation" },
    { key: "work", name: "Vector work of", group: "Operation" },
    ...full,
    { key: "sent", name: "bits sent", of: model.core_sent_bits, ...traffic },
    { key: "received", name: "bits received", of: model.core_received_bits, ...traffic },
  ];
}

// A colour for every core: bucket[core] is a row of `colours`; a legend, or values and their scale.
function paint(model, mode, theme) {
  const shades = SHADES[theme];
  return mode.of ? paintValues(model, mode, shades) : paintNames(model, mode.key, shades);
}

function paintValues(model, mode, shades) {
  const values = mode.of.subarray(0, model.n), scale = scaleOf(values, mode.shape);
  const rowOf = (v) => (v > 0 ? Math.min(STEPS - 1, Math.floor(scale.of(v) * STEPS)) : STEPS);
  return { bucket: Uint8Array.from(values, rowOf), colours: [...ramp(shades.core), shades.none], values, scale };
}

const NONE = { layer: [-1, "outside the layers"], weights: ["", "no weights"], work: ["", "none"] };

function paintNames(model, key, shades) {
  const byLayer = key === "layer", [nothing, words] = NONE[key];
  const op = key === "weights" ? model.core_tile_op : model.core_work_op;
  const of = Array.from({ length: model.n }, (_, core) => (byLayer ? model.layerOf(core) : model.kindOf(op[core])));
  const order = byLayer ? [...new Set(model.layers)].sort((a, b) => a - b) : [...new Set(model.kinds)];
  const present = new Set(of), names = [...order.filter((name) => name !== nothing && present.has(name)), nothing];
  const rows = new Map(names.map((name, i) => [name, i])), bucket = Uint16Array.from(of, (name) => rows.get(name));
  const layers = byLayer ? layerColours(names.length - 1) : [];
  const colours = names.map((name, i) => (name === nothing ? shades.none : layers[i] ?? hueOf(model, name)));
  const counts = new Array(names.length).fill(0);
  for (const row of bucket) counts[row]++;
  const legend = names.map((name, i) => ({
    name: name === nothing ? words : String(name), colour: colours[i], count: counts[i],
    find: name === nothing ? "" : byLayer ? `layers.${name}.` : name,
  }));
  return { bucket, colours, legend: legend.filter((row) => row.count) };
}

const hueOf = (model, kind) => css(rgb(HUES[[...new Set(model.kinds)].indexOf(kind) % HUES.length]));
