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
            varies = False
            for w in range(begin[p], begin[p + 1]):
                core, met = way[w, V_CORE], way[w, V_NEURONS]
                messages[now, core] += fired[t, p]
                if met < 0:
                    varies = True
                    continue
                synops[now, core] += fired[t, p] * met
                waves[now, core] += fired[t, p] * ((met + lanes - 1) // lanes)
            if not varies:
                continue
            for j in range(part[p, 0], part[p, 1]):
                if raster[t, j]:
                    for w in range(begin[p], begin[p + 1]):
                        if way[w, V_NEURONS] < 0:
                            core, met = way[w, V_CORE], n[way[w, V_BASE] + j]
                            synops[now, core] += met
                            waves[now, core] += (met + lanes - 1) // lanes
