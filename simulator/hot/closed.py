"""Tiles that have closed, and whose sums are put off until something needs them.

What a tile's sums are changes no time. So a tile that closes leaves its counts here, and the
messages that are to carry its sums leave without them. When the first of these is about to be taken
in, all tiles that have closed are summed: one after another here, or together by several threads
(simulator/adders.py), each tile by one. Integers, and each in a place of its own: nothing depends
on who sums them, or when.
"""

from simulator.hot import state as h
from simulator.hot.fail import fail
from simulator.hot.jit import entry, inner, merged, released
from simulator.hot.lists import list_sums
from simulator.hot.rows import tile_sums

AWAITED = -2
"""A message's M_STORE is AWAITED - row while its sums are put off: below h.NONE."""


@merged
def put_off(f, s, task, token, slot):
    """A tile closes: what its inputs gathered is kept, and cleared for another token."""
    row, i = f.task[task], s.reg[h.R_CLOSED]
    n_pre, groups = row[h.N_PRE], row[h.GROUPS]
    at, bound = row[h.SUMS] + slot * n_pre, row[h.BOUND] + slot * groups
    for axon in range(n_pre):
        s.closed_counts[i, axon] = s.inputs[at + axon]
        s.inputs[at + axon] = 0
    s.bound[bound : bound + groups] = 0
    s.closed[i, h.C_TASK], s.closed[i, h.C_TOKEN] = task, token
    s.closed[i, h.C_OWED] = s.closed[i, h.C_OWED_END] = s.reg[h.R_OWED]
    s.reg[h.R_CLOSED] = i + 1
    if row[h.LIST] >= 0:
        s.reg[h.R_SYNAPSES] += f.list_first[row[h.LIST] + n_pre] - f.list_first[row[h.LIST]]
    else:
        s.reg[h.R_SYNAPSES] += n_pre * row[h.NEURON_N]


@merged
def owe(s, m):
    """Message m is to carry sums of the tile that closed last; returns its store for now."""
    store, n = s.values_free[s.reg[h.R_FREE_VALUES]], s.reg[h.R_OWED]
    s.owed[n] = m
    s.reg[h.R_OWED] = s.closed[s.reg[h.R_CLOSED] - 1, h.C_OWED_END] = n + 1
    return AWAITED - store


@merged
def needed_now(f, s, taking):
    """Does the next event, or message of the step before, read sums that are put off? Or is there
    no room for more?"""
    if s.reg[h.R_CLOSED] + f.service[h.SLOTS] > s.closed.shape[0]:
        return True
    if s.reg[h.R_SINK] < s.reg[h.R_LAST_SINK]:  # of a message that has its sums
        return False
    if taking:
        m = s.due[s.reg[h.R_TAKEN], 1]
    else:
        what = s.heap[0, 2]
        kind, m = what >> h.KIND_SHIFT, what & h.MASK
        if kind == h.HOP and f.service[h.STREAMS]:  # cores at the node take it in the same turn
            place = f.node[(what >> h.INDEX_SHIFT) & h.MASK]
            if place[h.FIRST_SINK] == place[h.LAST_SINK]:
                return False
        elif kind != h.ARRIVE and kind != h.LOCAL:
            return False
    return s.message[m, h.M_STORE] <= AWAITED


@inner
def sum_tile(
    task, linear, weight, mantissa, lists, message, values, closed, counts, owed, i, scratch
):
    """The sums of the ith tile that closed go to the messages that await them.

    lists: Fixed.list_*
    """
    row = task[closed[i, h.C_TASK]]
    n, n_pre, groups, first = row[h.NEURON_N], row[h.N_PRE], row[h.GROUPS], row[h.NEURON_LO]
    sums, limit = scratch[:n], 1 << (linear[row[h.LINEAR], h.L_BITS] - 1)
    if row[h.LIST] >= 0:
        begins = lists[0][row[h.LIST] : row[h.LIST] + n_pre + 1]
        list_sums(sums, begins, lists[1], lists[2], counts[i, :n_pre])
    else:
        q = weight[row[h.WEIGHT] : row[h.WEIGHT] + n_pre * n]
        m = mantissa[row[h.MANTISSA] : row[h.MANTISSA] + groups * n]
        tile_sums(sums, scratch[n:], q, m, counts[i, :n_pre])
    closed[i, h.C_TOO_WIDE] = -1
    for j in range(n):
        if sums[j] >= limit or sums[j] < -limit:
            closed[i, h.C_TOO_WIDE], closed[i, h.C_SUM] = first + j, sums[j]
            break
    for z in range(closed[i, h.C_OWED], closed[i, h.C_OWED_END]):
        own = message[owed[z]]
        own[h.M_STORE] = AWAITED - own[h.M_STORE]
        for j in range(own[h.M_VALUE]):
            values[own[h.M_STORE], j] = sums[own[h.M_INDEX] - first + j]


@inner
def settle(reg, closed):
    """All that closed is summed. The first sum that is too wide is the run's error: whatever else
    there is came later."""
    for i in range(reg[h.R_CLOSED]):
        if closed[i, h.C_TOO_WIDE] >= 0:
            reg[h.R_ERROR] = 0
            task, token, neuron = closed[i, h.C_TASK], closed[i, h.C_TOKEN], closed[i, h.C_TOO_WIDE]
            fail(reg, h.E_PARTIAL, task, token, neuron, closed[i, h.C_SUM])
            break
    reg[h.R_CLOSED] = reg[h.R_OWED] = reg[h.R_SYNAPSES] = 0


@inner
def sum_closed(f, s):
    """Sum all tiles that have closed, as they closed."""
    for i in range(s.reg[h.R_CLOSED]):
        sum_tile(
            f.task, f.linear, f.weight, f.mantissa,
            (f.list_first, f.list_neuron, f.list_value), s.message, s.values,
            s.closed, s.closed_counts, s.owed, i, s.row_sums,
        )  # fmt: skip
    settle(s.reg, s.closed)


@released
def sum_some(
    task, linear, weight, mantissa, lists, message, values, closed, counts, owed, order, scratch
):
    """Sum some of the tiles that closed, one after another; scratch as State.row_sums."""
    for z in range(order.size):
        sum_tile(
            task, linear, weight, mantissa, lists, message, values,
            closed, counts, owed, order[z], scratch,
        )  # fmt: skip


@entry
def settled(reg, closed):
    """As settle, for Python."""
    settle(reg, closed)
