// Where everything lies. The unit is a router's side; chips are `gap` apart, and the links between
// chips run in the gaps, from gateway to gateway: above and left of each chip. No page, no canvas.

function boardOf(mesh) {
  const { chips_w, chip_w, chip_h, cores_per_router: perRouter } = mesh;
  const width = chips_w * chip_w, nRouters = width * mesh.chips_h * chip_h, nCores = nRouters * perRouter;
  const firstMesh = nCores + 1, firstChip = firstMesh + 4 * nRouters;
  const hostIn = nCores, hostOut = firstChip + 4 * chips_w * mesh.chips_h;
  const gap = Math.max(0.7, 0.1 * (chip_w + chip_h));
  const pitch = [chip_w + gap, chip_h + gap];
  const across = Math.ceil(Math.sqrt(perRouter)), down = Math.ceil(perRouter / across);
  const STEP = [[1, 0], [-1, 0], [0, -1], [0, 1]]; // east, west, north, south

  const routerOf = (core) => (core === nCores ? 0 : Math.floor(core / perRouter));
  function placeOf(router) {
    const x = router % width, y = Math.floor(router / width);
    return { chip: [Math.floor(x / chip_w), Math.floor(y / chip_h)], router: [x % chip_w, y % chip_h] };
  }
  const gateway = ([c, r]) => [c * pitch[0] + gap / 2, r * pitch[1] + gap / 2];
  const host = [-1.5 * gap, gap / 2];
  function cornerOf(router) {
    const at = placeOf(router);
    return [0, 1].map((i) => at.chip[i] * pitch[i] + gap + at.router[i]);
  }
  const centreOf = (router) => cornerOf(router).map((v) => v + 0.5);

  // Routers shrink to leave room for their links; from far away they touch.
  const insetAt = (scale) => 0.12 * Math.min(1, Math.max(0, (scale - 8) / 16));
  function coreBox(core, inset) {
    if (core === nCores) return [host[0] - gap / 2, host[1] - gap / 2, gap, gap];
    const [x, y] = cornerOf(routerOf(core)), k = core % perRouter, side = 1 - 2 * inset;
    const [w, h] = [side / across, side / down];
    return [x + inset + (k % across) * w, y + inset + Math.floor(k / across) * h, w, h];
  }

  function linkOf(number) {
    if (number === hostIn) return { kind: "host", from: host, to: gateway([0, 0]) };
    if (number === hostOut) return { kind: "host", from: gateway([0, 0]), to: host };
    if (number < firstMesh) {
      const [x, y, w, h] = coreBox(number, 0.12);
      return { kind: "local", from: [x + w / 2, y + h / 2], to: centreOf(routerOf(number)) };
    }
    const chips = number >= firstChip, at = number - (chips ? firstChip : firstMesh);
    const side = at % 4, one = Math.floor(at / 4), step = STEP[side];
    if (chips) {
      const chip = [one % chips_w, Math.floor(one / chips_w)], next = chip.map((v, i) => v + step[i]);
      return { kind: "chip", side, chip, next, from: gateway(chip), to: gateway(next) };
    }
    const place = placeOf(one);
    return {
      kind: "mesh", side, chip: place.chip, router: place.router, next: place.router.map((v, i) => v + step[i]),
      from: centreOf(one), to: centreOf(one).map((v, i) => v + step[i]),
    };
  }

  // The bar of a link of relative thickness 0 .. 1, [x, y, w, h]: opposite ways lie side by side.
  function linkBox(link, thickness, inset) {
    const onChip = link.kind === "mesh", room = onChip ? 0.36 : gap, thick = room * (0.05 + 0.3 * thickness);
    const [x0, y0] = link.from, [x1, y1] = link.to, forward = x1 > x0 || y1 > y0;
    const trim = onChip ? 0.5 - inset : 0.16 * gap, first = link.kind === "host" ? gap / 2 : trim;
    const side = (forward === (y0 === y1) ? -0.22 : 0.22) * room - thick / 2;
    if (y0 === y1) return [Math.min(x0, x1) + first, y0 + side, Math.abs(x1 - x0) - first - trim, thick];
    return [x0 + side, Math.min(y0, y1) + first, thick, Math.abs(y1 - y0) - first - trim];
  }

  // What lies at a point: { chip, core, link, gateway, host }, each where there is one.
  function at(x, y, inset) {
    if (Math.hypot(x - host[0], y - host[1]) < gap * 0.7) return { host: true };
    if (y > 0 && y < gap && x > host[0] && x < gap / 2) return { link: y < host[1] ? hostIn : hostOut };
    const chip = [Math.floor(x / pitch[0]), Math.floor(y / pitch[1])];
    const inside = chip[0] >= 0 && chip[1] >= 0 && chip[0] < chips_w && chip[1] < mesh.chips_h;
    if (!inside) return {};
    const own = [x - chip[0] * pitch[0] - gap, y - chip[1] * pitch[1] - gap];
    const number = chip[1] * chips_w + chip[0], [gx, gy] = gateway(chip);
    if (own[0] < 0 && own[1] < 0) return { chip, gateway: true };
    if (own[1] < 0) return { chip, link: firstChip + (y < gy ? 4 * number : 4 * (number + 1) + 1) };
    if (own[0] < 0) return { chip, link: firstChip + (x > gx ? 4 * number + 3 : 4 * (number + chips_w) + 2) };
    const [rx, ry] = own.map(Math.floor), [fx, fy] = [own[0] - rx, own[1] - ry];
    const router = (chip[1] * chip_h + ry) * width + chip[0] * chip_w + rx;
    const beyond = (f) => (f < inset ? -1 : f > 1 - inset ? 1 : 0), beyondX = beyond(fx), beyondY = beyond(fy);
    if (beyondX && beyondY) return { chip };
    if (beyondX) return { chip, link: sideLink(router, beyondX, 0, fy < 0.5 ? 0 : 1) };
    if (beyondY) return { chip, link: sideLink(router, 0, beyondY, fx > 0.5 ? 3 : 2) };
    const [column, row] = [fx, fy].map((f, i) => Math.floor(((f - inset) / (1 - 2 * inset)) * [across, down][i]));
    const k = row * across + column;
    return k < perRouter ? { chip, core: router * perRouter + k } : { chip };
  }
  // Between a router and its neighbour at (dx, dy), the link towards `side`.
  function sideLink(router, dx, dy, side) {
    const neighbour = router + dx + dy * width;
    const leaves = STEP[side][0] === dx && STEP[side][1] === dy;
    return firstMesh + 4 * (leaves ? router : neighbour) + side;
  }

  return {
    gap, pitch, host, across, down, perRouter, gateway, placeOf, routerOf, cornerOf, centreOf, coreBox, linkOf, linkBox,
    insetAt, at,
  };
}
