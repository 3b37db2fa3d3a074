// Draws the board on one canvas, and what is pointed at or picked on another one above it.

function painter(below, above, model, board, chips, linesOf) {
  const all = Array.from(model.link_number, (number, i) => ({ number, bits: model.link_bits[i], ...board.linkOf(number) }));
  const links = { chip: [], mesh: [], host: [] };
  for (const link of all) links[link.kind].push(link);
  const scaleFor = (kind) => scaleOf(links[kind].map((link) => link.bits), "root");
  const scales = { chip: scaleFor("chip"), mesh: scaleFor("mesh") };
  const { chip_w, chip_h } = model.mesh, { gap, pitch } = board;
  const cells = new Float32Array(4 * model.n); // of every core: its router's corner, its place there
  for (let core = 0; core < model.n; core++) {
    const number = model.core_number[core], k = number % board.perRouter;
    cells.set([...board.cornerOf(board.routerOf(number)), k % board.across, Math.floor(k / board.across)], 4 * core);
  }
  return { base, over, scales };

  // A canvas at the size of its place, cleared, with ways from the board's units to its pixels.
  function sheet(canvas, { view }) {
    const ctx = canvas.getContext("2d"), style = getComputedStyle(canvas), ratio = window.devicePixelRatio || 1;
    const w = canvas.clientWidth, h = canvas.clientHeight;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, w, h);
    const X = (x) => (x - view.x) * view.scale + w / 2, Y = (y) => (y - view.y) * view.scale + h / 2;
    const seen = ([x, y, bw, bh]) => X(x + bw) > 0 && Y(y + bh) > 0 && X(x) < w && Y(y) < h;
    return {
      ctx, w, h, X, Y, seen, scale: view.scale, inset: board.insetAt(view.scale),
      colour: (name) => style.getPropertyValue("--" + name).trim(),
      fill(box) {
        if (!seen(box)) return;
        const x = Math.round(X(box[0])), y = Math.round(Y(box[1]));
        const right = Math.round(X(box[0] + box[2])), lower = Math.round(Y(box[1] + box[3]));
        ctx.fillRect(x, y, Math.max(1, right - x), Math.max(1, lower - y));
      },
      outline(box, style, width) {
        if (!seen(box)) return;
        ctx.strokeStyle = style;
        ctx.lineWidth = width;
        ctx.strokeRect(X(box[0]) - 0.5, Y(box[1]) - 0.5, Math.max(3, box[2] * view.scale), Math.max(3, box[3] * view.scale));
      },
      line(a, b) {
        ctx.beginPath();
        ctx.moveTo(X(a[0]), Y(a[1]));
        ctx.lineTo(X(b[0]), Y(b[1]));
        ctx.stroke();
      },
    };
  }

  function base(scene) {
    const on = sheet(below, scene);
    drawChips(on);
    drawCores(on, scene);
    drawLinks(on, scene);
    drawHost(on);
    drawWords(on, scene);
  }

  function drawChips({ ctx, colour, fill, outline, line, seen, X, Y, scale, inset }) {
    const edge = 0.06 * gap, r = 0.13 * gap;
    for (const chip of chips) {
      const x = chip[0] * pitch[0] + gap, y = chip[1] * pitch[1] + gap;
      const box = [x - edge, y - edge, chip_w + 2 * edge, chip_h + 2 * edge];
      ctx.fillStyle = colour("chip");
      fill(box);
      if (scale > 6) outline(box, colour("edge"), 1);
    }
    if (scale <= 5) return;
    ctx.fillStyle = ctx.strokeStyle = colour("gate");
    ctx.lineWidth = 1;
    for (const chip of chips) {
      const [x, y] = board.gateway(chip);
      if (!seen([x - r, y - r, 2 * gap, 2 * gap])) continue;
      line([x, y], [x + gap / 2 + inset, y + gap / 2 + inset]);
      ctx.beginPath();
      for (const [dx, dy] of [[0, -r], [r, 0], [0, r], [-r, 0]]) ctx.lineTo(X(x + dx), Y(y + dy));
      ctx.fill();
    }
  }

  function drawCores({ ctx, X, Y, w, h, scale, inset }, { paint, order, focus }) {
    const bw = (1 - 2 * inset) / board.across, bh = (1 - 2 * inset) / board.down;
    const spare = Math.min(bw, bh) * scale > 6 ? 1 : 0;
    for (const lit of [false, true]) {
      ctx.globalAlpha = lit ? 1 : 0.13;
      paint.colours.forEach((colour, bucket) => {
        ctx.fillStyle = colour;
        for (const core of order[bucket]) {
          if ((!focus || focus[core] > 0) !== lit) continue;
          const x = cells[4 * core] + inset + cells[4 * core + 2] * bw;
          const y = cells[4 * core + 1] + inset + cells[4 * core + 3] * bh;
          const x0 = Math.round(X(x)), y0 = Math.round(Y(y)), x1 = Math.round(X(x + bw)), y1 = Math.round(Y(y + bh));
          if (x1 < 0 || y1 < 0 || x0 > w || y0 > h) continue;
          ctx.fillRect(x0, y0, Math.max(1, x1 - x0 - spare), Math.max(1, y1 - y0 - spare));
        }
      });
    }
    ctx.globalAlpha = 1;
  }

  // Links of the mesh appear when there is room for them.
  function drawLinks({ ctx, fill, scale, inset }, { flow, focus, pin }) {
    const draw = (kind, opacity) => {
      ctx.globalAlpha = Math.max(0, opacity);
      if (opacity <= 0) return;
      for (const link of links[kind]) {
        const strength = scales[kind].of(link.bits);
        ctx.fillStyle = flow[Math.min(STEPS - 1, Math.floor(strength * STEPS))];
        fill(board.linkBox(link, strength, inset));
      }
    };
    draw("mesh", Math.min(1, (scale - 14) / 14) * (focus ? 0.35 : 1));
    draw("chip", pin ? 0.35 : 1);
    ctx.globalAlpha = 1;
  }

  function drawHost({ ctx, colour, fill, X, Y, scale, inset }) {
    const box = board.coreBox(model.core_number[model.n], 0);
    ctx.fillStyle = colour("soft");
    for (const link of links.host) fill(board.linkBox(link, 0.4, inset));
    fill(box);
    if (0.3 * gap * scale < 9) return;
    ctx.fillStyle = colour("paper");
    ctx.font = `600 ${Math.min(15, 0.3 * gap * scale)}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText("host", X(box[0] + box[2] / 2), Y(box[1] + box[3] / 2));
  }

  // Numbers and tasks of cores that are large enough.
  function drawWords({ ctx, X, Y, seen, scale, inset }, { paint, focus }) {
    if (((1 - 2 * inset) / board.across) * scale < 70) return;
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    for (let core = 0; core < model.n; core++) {
      const box = board.coreBox(model.core_number[core], inset);
      if (!seen(box) || (focus && !focus[core])) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(X(box[0]), Y(box[1]), box[2] * scale - 2, box[3] * scale);
      ctx.clip();
      ctx.fillStyle = isDark(paint.colours[paint.bucket[core]]) ? "#fff" : "#101820";
      linesOf(core).slice(0, Math.floor((box[3] * scale - 10) / 14)).forEach((text, i) => {
        ctx.font = `${i ? "" : "600 "}11px system-ui, sans-serif`;
        ctx.fillText(text, X(box[0]) + 5, Y(box[1]) + 5 + 14 * i);
      });
      ctx.restore();
    }
  }

  function over(scene) {
    const on = sheet(above, scene), { colour, outline, inset } = on;
    const boxOf = (core) => board.coreBox(model.core_number[core], inset);
    for (const what of [scene.hover, scene.pin]) {
      if (what?.core >= 0) drawTrees(on, what.core);
      if (what?.link !== undefined) outline(board.linkBox(board.linkOf(what.link), 1, inset), colour("accent"), 2);
    }
    for (const from of scene.senders) outline(boxOf(from), colour("other"), 1.5);
    if (scene.pin?.core >= 0) for (const to of model.reachedBy(scene.pin.core)) outline(boxOf(to), colour("accent"), 1.5);
    for (const what of [scene.hover, scene.pin]) if (what?.core >= 0) outline(boxOf(what.core), colour("ink"), 2);
  }

  // Every link that the messages of a core take, and the way between gateways and their chips.
  function drawTrees({ ctx, colour, line, scale }, core) {
    ctx.strokeStyle = colour("accent");
    ctx.lineWidth = Math.max(1.5, Math.min(5, 0.05 * scale));
    ctx.lineCap = "round";
    for (const number of model.waysOf(core)) {
      const { from, to, kind, chip, next } = board.linkOf(number);
      line(from, to);
      for (const end of kind === "chip" ? [chip, next] : kind === "host" ? [[0, 0]] : []) {
        const [x, y] = board.gateway(end);
        line([x, y], [x + gap / 2 + 0.5, y + gap / 2 + 0.5]);
      }
    }
  }
}
