"""Messages and synops that reach every core in every step."""

from simulator.hot.jit import entry

# columns of a table of ways: its part's neurons and lag; core; neurons that a spike meets, or -1:
# where n[base + neuron] says so
(V_CORE, V_NEURONS, V_BASE) = range(3)


@entry
def deliveries(part, begin, way, n, lanes, raster, fired, messages, synops, waves):
    """messages, synops, and these in `lanes` at a time: int64[step, core], added to.

    part    int64[part, 3]: its first neuron and end, steps of the chip that it is behind
    begin   int64[part + 1]: its ways; way int64[way, 3]
    raster  uint8[step, neuron]; fired int64[step, part]
    """
    for t in range(raster.shape[0]):
        for p in range(part.shape[0]):
            now = t + part[p, 2]
            if fired[t, p] == 0 or now >= raster.shape[0]:
                continue
            for w in range(begin[p], begin[p + 1]):
                core = way[w, V_CORE]
                messages[now, core] += fired[t, p]
                if way[w, V_NEURONS] >= 0:
                    met = way[w, V_NEURONS]
                    synops[now, core] += fired[t, p] * met
                    waves[now, core] += fired[t, p] * ((met + lanes - 1) // lanes)
                    continue
                base = way[w, V_BASE]
                for j in range(part[p, 0], part[p, 1]):
                    if raster[t, j]:
                        synops[now, core] += n[base + j]
                        waves[now, core] += (n[base + j] + lanes - 1) // lanes
