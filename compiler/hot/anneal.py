"""Place things on a grid so that dimension-ordered multicast trees carry few bits.

The same kernel places chips on a board and cores on a chip's routers. A net is a source and its
sinks; its tree runs along x in the source's row, then along y in every sink's column.

Most moves are aimed: beside something that the thing talks to. Others go anywhere within a reach
that shrinks.
"""

import numpy as np
from numba import njit

AIMED = 0.8
"""Share of moves; the result hardly depends on it between 0.5 and 0.9, and is worse without."""


@njit(cache=True)
def tree_links(net, first, pin, x, y, low, high, stamp, mark):
    """Links of one net's tree. pin[first[net]] is its source, the rest are its sinks.

    x, y int64[things]; low, high, stamp int64[width]: scratch, valid where stamp == mark.
    """
    source = pin[first[net]]
    here = y[source]
    west = east = x[source]
    total = 0
    for i in range(first[net] + 1, first[net + 1]):
        column, row = x[pin[i]], y[pin[i]]
        west, east = min(west, column), max(east, column)
        if stamp[column] != mark:
            stamp[column], low[column], high[column] = mark, here, here
        if row < low[column]:
            total += low[column] - row
            low[column] = row
        elif row > high[column]:
            total += row - high[column]
            high[column] = row
    return total + east - west


@njit(cache=True)
def links_of_nets(first, pin, x, y, width):
    """int64[nets]: links of every net's tree."""
    low, high = np.empty(width, np.int64), np.empty(width, np.int64)
    stamp = np.full(width, -1, np.int64)
    found = np.empty(first.size - 1, np.int64)
    for net in range(found.size):
        found[net] = tree_links(net, first, pin, x, y, low, high, stamp, net)
    return found


@njit(cache=True)
def draw(state):
    """(next state, 53 random bits): splitmix64."""
    state += np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, (z ^ (z >> np.uint64(31))) >> np.uint64(11)


@njit(cache=True, nogil=True)
def anneal(
    first, pin, bits, nets_first, nets, slot_of, thing_at, size, room, width, height, per_place,
    moves, hot, cold, seed,
):  # fmt: skip
    """Improve slot_of and thing_at in place by exchanging two slots, `moves` times tried.

    first int64[nets + 1], pin   a net's source, then its sinks
    bits float64[nets]
    nets_first, nets             the nets of every thing that may move; things beyond are fixed
    slot_of int64[things]        slot = (y * width + x) * per_place + k
    thing_at int64[slots]        or -1
    size int64[things], room int64[slots]: a thing moves only into a slot with room for it
    hot, cold                    temperatures at first and at last, in bits x links
    """
    n_things = nets_first.size - 1
    x, y = slot_of // per_place % width, slot_of // per_place // width
    low, high = np.empty(width, np.int64), np.empty(width, np.int64)
    stamp = np.full(width, -1, np.int64)
    links = links_of_nets(first, pin, x, y, width)
    fresh, touched = np.empty(links.size, np.int64), np.empty(links.size, np.int64)
    seen = np.full(links.size, -1, np.int64)
    mark = links.size
    state = np.uint64(seed)
    heat, cooling = hot, (cold / hot) ** (1.0 / max(1, moves))
    reach = max(width, height) - 1
    for move in range(moves):
        heat *= cooling
        state, r = draw(state)
        a = np.int64(r % np.uint64(n_things))
        own = nets_first[a + 1] - nets_first[a]
        state, r = draw(state)
        span, about = np.uint64(1), a
        if own > 0 and np.float64(r) * 2.0**-53 < AIMED:
            state, r = draw(state)
            net = nets[nets_first[a] + np.int64(r % np.uint64(own))]
            state, r = draw(state)
            about = pin[first[net] + np.int64(r % np.uint64(first[net + 1] - first[net]))]
        else:
            span = np.uint64(max(1, int(reach * (1.0 - move / moves))))
        state, r = draw(state)
        to_x = x[about] + np.int64(r % (np.uint64(2) * span + np.uint64(1))) - np.int64(span)
        state, r = draw(state)
        to_y = y[about] + np.int64(r % (np.uint64(2) * span + np.uint64(1))) - np.int64(span)
        if to_x < 0 or to_x >= width or to_y < 0 or to_y >= height:
            continue
        if to_x == x[a] and to_y == y[a]:
            continue
        old, new = slot_of[a], (to_y * width + to_x) * per_place
        if per_place > 1:
            state, r = draw(state)
            new += np.int64(r % np.uint64(per_place))
        b = thing_at[new]
        if size[a] > room[new] or b >= n_things or (b >= 0 and size[b] > room[old]):
            continue
        n_touched = 0
        for thing in (a, b):
            if thing >= 0:
                for i in range(nets_first[thing], nets_first[thing + 1]):
                    if seen[nets[i]] != move:
                        seen[nets[i]] = move
                        touched[n_touched] = nets[i]
                        n_touched += 1
        old_x, old_y = x[a], y[a]
        x[a], y[a] = to_x, to_y
        if b >= 0:
            x[b], y[b] = old_x, old_y
        gain = 0.0
        for i in range(n_touched):
            net = touched[i]
            mark += 1
            fresh[net] = tree_links(net, first, pin, x, y, low, high, stamp, mark)
            gain += bits[net] * (links[net] - fresh[net])
        accept = gain >= 0
        if not accept:
            state, r = draw(state)
            accept = np.float64(r) * 2.0**-53 < np.exp(gain / heat)
        if accept:
            for i in range(n_touched):
                links[touched[i]] = fresh[touched[i]]
            slot_of[a], thing_at[new], thing_at[old] = new, a, b
            if b >= 0:
                slot_of[b] = old
        else:
            x[a], y[a] = old_x, old_y
            if b >= 0:
                x[b], y[b] = to_x, to_y
