// Arrays of the map: one compressed block, unpacked by the browser into typed arrays by name.

const TYPES = {
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array, f8: Float64Array,
};

async function unpack(text, columns) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const block = await new Response(stream).arrayBuffer();
  const found = {};
  for (const [name, [type, start, size]] of Object.entries(columns)) {
    found[name] = new TYPES[type](block, start, size);
  }
  return found;
}

// What the arrays say of one core, link or search; cores by their index, the host is the last one.
function modelOf(head, arrays) {
  const n = arrays.core_number.length - 1;
  const short = JSON.parse(new TextDecoder().decode(arrays.task_name));
  const kindOf = (op) => (op < head.ops.length ? head.kinds[op] : "");
  const indexOf = new Map(Array.from(arrays.core_number, (number, i) => [number, i]));
  const linkAt = new Map(Array.from(arrays.link_number, (number, i) => [number, i]));
  const row = (name, i) => arrays[name].subarray(i * (n + 1), (i + 1) * (n + 1));

  function taskName(t) {
    const own = short[t];
    return own[0] === "\0" ? head.ops[arrays.task_op[t]] + own.slice(1) : own;
  }

  function tasksOf(core) {
    const found = [];
    for (let t = arrays.first_task[core]; t < arrays.first_task[core + 1]; t++) {
      const column = (name) => arrays["task_" + name][t];
      found.push({
        name: taskName(t), op: column("op"), kind: column("kind"), state: column("state"),
        neurons: [column("neuron_lo"), column("neuron_n")], inputs: [column("pre"), column("n_pre")],
        channels: [column("channel_lo"), column("channel_n")], window: column("window"),
        period: column("period"), gathers: column("gathers") >= 0,
      });
    }
    return found;
  }

  const part = (name, i) => arrays[name].subarray(arrays[name + "_first"][i], arrays[name + "_first"][i + 1]);

  // Left sides of the pairs (left, right) of a table: who sends to a core, who uses a link.
  function leftOf(name, right) {
    const found = [], first = arrays[name + "_first"];
    for (let i = 0, at = 0; at < arrays[name].length; at++) {
      if (arrays[name][at] !== right) continue;
      while (first[i + 1] <= at) i++;
      found.push(i);
    }
    return found;
  }

  // Cores with a task of an operation, of a kind of operation, or whose name contains the text.
  function search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return null;
    const ops = head.ops.map((op) => op.toLowerCase()), kinds = head.kinds.map((k) => k.toLowerCase());
    const named = ops.includes(wanted) ? ops : kinds.includes(wanted) ? kinds : null;
    const flags = new Uint8Array(n + 1), found = new Set();
    let cores = 0;
    for (let core = 0; core <= n; core++) {
      for (let t = arrays.first_task[core]; t < arrays.first_task[core + 1]; t++) {
        const op = arrays.task_op[t];
        if (named ? named[op] !== wanted : !taskName(t).toLowerCase().includes(wanted)) continue;
        found.add(op);
        if (!flags[core] && core < n) cores++;
        flags[core] = 1;
      }
    }
    return { flags, cores, ops: [...found].sort((a, b) => a - b) };
  }

  const layerOf = (core) => {
    const op = arrays.core_tile_op[core] < head.ops.length ? arrays.core_tile_op[core] : arrays.core_work_op[core];
    return op < head.ops.length ? head.layers[op] : -1;
  };

  return {
    ...head, ...arrays, n, kindOf, tasksOf, search, layerOf, indexOf, linkAt,
    used: (i) => row("core_used", i), sent: (i) => row("core_sent", i), received: (i) => row("core_received", i),
    waysOf: (core) => part("way", core), reachedBy: (core) => part("reach", core),
    sendersTo: (core) => leftOf("reach", core), usersOf: (link) => leftOf("way", link),
  };
}
