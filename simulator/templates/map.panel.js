// Words for what is under the pointer or picked, and the legend. Text only: names are never markup.

function element(tag, content, attributes = {}) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") found.style.cssText = value;
    else if (name.startsWith("on")) found[name] = value;
    else found.setAttribute(name, value);
  }
  for (const part of [content].flat(Infinity)) {
    if (part !== null && part !== undefined && part !== "") found.append(part);
  }
  return found;
}

const PREFIXES = ["", "k", "M", "G", "T"];
function si(value, unit) {
  let i = 0;
  while (value >= 999.5 && i < PREFIXES.length - 1) { value /= 1000; i++; }
  const digits = value >= 99.95 || (Number.isInteger(value) && !i) ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${PREFIXES[i]}${unit}`.trim();
}
const whole = (value) => Math.round(value).toLocaleString("en-US");
const amount = (value) => (value >= 100 || Number.isInteger(value) ? whole(value) : value.toPrecision(3));
function bytes(value) {
  if (value < 1024) return `${value} B`;
  return value < 1 << 20 ? `${+(value / 1024).toFixed(1)} KiB` : `${+(value / (1 << 20)).toFixed(1)} MiB`;
}
const quantity = (value, unit) => (unit === "B" ? bytes(value) : unit ? si(value, unit) : whole(value));
const span = ([lo, n]) => (n === 1 ? `${lo}` : `${lo} to ${lo + n - 1}`);
const plural = (n, word) => `${whole(n)} ${word}${n === 1 ? "" : "s"}`;
const MESSAGES = { partial: "of sums", value: "of values" }; // spikes and markers speak for themselves
const SHOWN = 14; // tasks of a core

const TILE = 0, HOST = 2; // kinds of tasks
function describe(task) {
  if (task.kind === HOST) return "on the host";
  const words = [];
  if (task.kind === TILE) words.push(`tile of neurons ${span(task.neurons)} × inputs ${span(task.inputs)}`);
  else if (task.neurons[1]) words.push(`${task.gathers ? "home of" : "adds up"} neurons ${span(task.neurons)}`);
  if (task.channels[1]) words.push(`encodes channels ${span(task.channels)}`);
  const kept = Math.ceil(task.window / task.period);
  if (task.window) words.push(`keeps ${whole(kept)} of the last ${whole(task.window)} tokens`);
  if (task.state) words.push(`${bytes(task.state)} of state`);
  return words.join(", ");
}

function wordsOf(model, board) {
  const point = (at) => `(${at[0]}, ${at[1]})`;
  const dot = (op) => element("i", "", { class: "dot", style: `background:${hueOf(model, model.kinds[op])}` });

  const chipLinks = Array.from(model.link_number, (number, i) => ({ ...board.linkOf(number), bits: model.link_bits[i] }))
    .filter((link) => link.kind === "chip");

  // '3 cores and the host'
  function places(cores) {
    const n = cores.filter((i) => i < model.n).length;
    return [n ? plural(n, "core") : "", n < cores.length ? "the host" : ""].filter(Boolean).join(" and ") || "nowhere";
  }

  // '289 spikes, 32 messages of sums, 1 marker'
  function messages(numbers) {
    const words = numbers.map((n, i) => {
      const kind = model.messages[i], of = MESSAGES[kind];
      return n ? `${amount(n)} ${of ? "message" : kind}${n === 1 ? "" : "s"}${of ? ` ${of}` : ""}` : "";
    });
    return words.filter(Boolean).join(", ") || "nothing";
  }

  function core(index) {
    const number = model.core_number[index], onHost = index === model.n, tasks = model.tasksOf(index);
    const place = board.placeOf(board.routerOf(number)), at = `chip ${point(place.chip)} · router ${point(place.router)}`;
    const flow = (name, counts, bits, way, others) => element("p", [
      element("b", name), ` ${messages(model.messages.map((_, i) => counts(i)[index]))} per ${model.unit}`,
      element("br", ""), `${si(bits[index], "bit")} ${way} `, element("span", places(others), { class: `mark ${way}` }),
    ]);
    return [
      element("h4", onHost ? "Host" : `Core ${number}`),
      element("p", onHost ? "beside the gateway of chip (0, 0)" : at, { class: "soft" }),
      element("ul", tasks.slice(0, SHOWN).map((task) => element("li", [
        dot(task.op), element("span", [element("b", task.name), " ", element("span", describe(task), { class: "soft" })]),
      ])), { class: "tasks" }),
      ...(tasks.length > SHOWN ? [element("p", `and ${tasks.length - SHOWN} more tasks`, { class: "soft" })] : []),
      ...(onHost ? [] : [element("dl", model.resources.flatMap((r, i) => meter(r, model.used(i)[index])), { class: "meters" })]),
      flow("Sends", model.sent, model.core_sent_bits, "to", Array.from(model.reachedBy(index))),
      flow("Receives", model.received, model.core_received_bits, "from", model.sendersTo(index)),
    ];
  }

  function meter(resource, used) {
    const full = Math.min(100, (100 * used) / resource.limit);
    return [
      element("dt", resource.name),
      element("dd", [
        element("span", element("i", "", { style: `width:${full}%` }), { class: "track" }),
        element("span", `${quantity(used, resource.unit)} of ${quantity(resource.limit, resource.unit)}`),
      ]),
    ];
  }

  function linkName(number) {
    const link = board.linkOf(number);
    if (link.kind === "host") return link.from === board.host ? "Host to chip (0, 0)" : "Chip (0, 0) to host";
    if (link.kind === "chip") return `Chip ${point(link.chip)} to chip ${point(link.next)}`;
    return `Router ${point(link.router)} to ${point(link.next)} of chip ${point(link.chip)}`;
  }

  function link(number) {
    const at = model.linkAt.get(number);
    return [
      element("h4", linkName(number)),
      element("p", [element("b", si(model.link_bits[at], "bit")), ` per ${model.unit}`]),
      element("p", `messages of ${places(model.usersOf(number))}`, { class: "soft" }),
    ];
  }

  function chip([c, r], cores, gate) {
    const layers = [...new Set(cores.map(model.layerOf))].sort((a, b) => a - b);
    const names = layers.map((layer) => (layer < 0 ? "outside the layers" : `layer ${layer}`));
    const here = (at) => at[0] === c && at[1] === r;
    const sum = (end) => si(chipLinks.reduce((bits, l) => bits + (here(l[end]) ? l.bits : 0), 0), "bit");
    return [
      element("h4", `${gate ? "Gateway of chip" : "Chip"} ${point([c, r])}`),
      element("p", plural(cores.length, "core")),
      element("p", chipLinks.length ? `${sum("chip")} out to other chips and ${sum("next")} in per ${model.unit}` : ""),
      element("p", names.slice(0, 6).join(", ") + (names.length > 6 ? " …" : ""), { class: "soft" }),
    ];
  }

  return { core, link, chip };
}

const rampOf = (colours) => element("div", "", { class: "ramp", style: `background:linear-gradient(90deg,${colours})` });

// Legend of a painted mode: a list of categories to pick, or a ramp under a histogram.
function legendOf(model, mode, painted, find) {
  if (painted.legend) {
    const rows = painted.legend.map((row) => element("li", element("button", [
      element("i", "", { style: `background:${row.colour}` }), element("span", row.name), element("small", whole(row.count)),
    ], { type: "button", onclick: () => find(row.find), title: row.find ? `highlight ${row.find}` : "" })));
    return [element("ul", rows, { class: `swatches ${mode.key}` })];
  }
  const { scale, values, colours } = painted, bars = new Array(STEPS).fill(0);
  for (const row of painted.bucket) if (row < STEPS) bars[row]++;
  const used = bars.reduce((a, b) => a + b), mean = values.reduce((a, b) => a + b, 0) / values.length;
  const tallest = Math.max(...bars, 1), write = (v) => quantity(v, mode.unit);
  const full = (v) => (mode.limit ? `${write(v)} (${((100 * v) / mode.limit).toFixed(1)} %)` : write(v));
  return [
    element("div", bars.map((n, i) => element("i", "", {
      style: `height:${n ? Math.max(3, (100 * n) / tallest) : 0}%;background:${colours[i]}`,
      title: `${plural(n, "core")} around ${write(scale.at((i + 0.5) / STEPS))}`,
    })), { class: "histogram" }),
    rampOf(colours.slice(0, STEPS)),
    element("div", [scale.least, scale.most].map((v) => element("span", write(v))), { class: "ends" }),
    element("p", [
      `most ${full(scale.most)}, mean ${full(mean)}`,
      mode.limit ? `; limit ${write(mode.limit)} per ${mode.per}` : "",
      used < values.length ? `; ${plural(values.length - used, "core")} with none` : "",
    ], { class: "soft" }),
  ];
}
