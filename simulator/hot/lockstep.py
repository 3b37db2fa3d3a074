"""Time steps of a chain of spiking populations, layer by layer; no events, no heap.

Integers are those of the event engine: A = sum of int8 weights per (neuron, group of 128 inputs),
P = sum of m * A; of a list, P = sum of m * weight. A spike is 0 or 1, so that A stays within
128 * 127 and fits int16, and m * A fits int32. Floats are kernels.neurons' and kernels.linear's,
one rounding per operation.

What a layer sends depends on nothing behind it, so that all steps of one are taken before the next
one's. Its neurons lie in blocks whose weights stay in a cache from step to step; threads take a
block each, and no result depends on how many there are.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from simulator.hot.jit import entry, inner, released

GROUP = 128

# columns of Chain.block: sizes; offsets into weight, mantissa, neurons; where its inputs lie among
# all neurons, and its outputs in `outputs` (-1: it has none); kind; where its inputs' lists begin
# in list_first (-1: every pair is stored)
(B_PRE, B_POST, B_WEIGHT, B_MANTISSA, B_NEURON, B_INPUT, B_OUTPUT, B_KIND, B_LIST) = range(9)
N_BLOCK = 9

# bits of a kind: what its neurons have
SYNAPSE, LEAK, MEMBRANE, FIRES, RESETS, LOIHI = 1, 2, 4, 8, 16, 32

# rows of Chain.parameter
A_SYN, W_IN, A_MEM, R, V_LEAK, V_THRESHOLD, V_RESET, DU, DV, V_BIAS, VTH = range(11)

LIMIT = 1 << 23
"""Of Loihi's integers, which float32 holds exactly."""


class Chain(NamedTuple):
    """A network; never written. The host's channels and the neurons of all layers lie one after
    another."""

    layer: np.ndarray  # int64[layer + 1] its blocks
    block: np.ndarray  # int64[block, N_BLOCK]
    weight: np.ndarray  # int8, per block [input, neuron]
    mantissa: np.ndarray  # int32, per block [group, neuron]
    list_first: np.ndarray  # int64, per block [input + 1] its synapses, in the arrays beside
    list_neuron: np.ndarray  # uint16, of the block's neurons
    list_value: np.ndarray  # int32: mantissa * weight
    scale: np.ndarray  # float64[neuron] of a sum
    bias: np.ndarray  # float32[neuron]
    parameter: np.ndarray  # float32[11, neuron]
    part: np.ndarray  # int64[part, 2] its neurons


@inner
def add_rows(sums, weight, first, spikes, lo, hi):
    """sums[j] += weight[first + spike, j] for spikes lo .. hi of the list, four rows at a time."""
    n = sums.size
    k = lo
    while k + 4 <= hi:
        at0, at1 = first + spikes[k] * n, first + spikes[k + 1] * n
        at2, at3 = first + spikes[k + 2] * n, first + spikes[k + 3] * n
        w0, w1 = weight[at0 : at0 + n], weight[at1 : at1 + n]
        w2, w3 = weight[at2 : at2 + n], weight[at3 : at3 + n]
        for j in range(n):
            sums[j] += np.int16(np.int16(w0[j]) + np.int16(w1[j])) + np.int16(
                np.int16(w2[j]) + np.int16(w3[j])
            )
        k += 4
    while k < hi:
        at = first + spikes[k] * n
        row = weight[at : at + n]
        for j in range(n):
            sums[j] += np.int16(row[j])
        k += 1


@inner
def integrate(f, block, spikes, n_spikes, sums, total):
    """total[j] = P of every neuron of a block, from its inputs' spikes in ascending order."""
    n = block[B_POST]
    total[:] = 0
    k = 0
    while k < n_spikes:
        group = spikes[k] // GROUP
        end = k + 1
        while end < n_spikes and spikes[end] // GROUP == group:
            end += 1
        sums[:] = 0
        add_rows(sums, f.weight, block[B_WEIGHT], spikes, k, end)
        at = block[B_MANTISSA] + group * n
        m = f.mantissa[at : at + n]
        for j in range(n):
            total[j] += np.int32(m[j] * np.int32(sums[j]))
        k = end


@inner
def integrate_list(f, block, spikes, n_spikes, fed, total):
    """The same where synapses are lists; fed[j] = 1 for neurons that a spike meets."""
    total[:] = 0
    fed[:] = 0
    for k in range(n_spikes):
        at = block[B_LIST] + spikes[k]
        for synapse in range(f.list_first[at], f.list_first[at + 1]):
            j = f.list_neuron[synapse]
            total[j] += f.list_value[synapse]
            fed[j] = 1


@njit(inline="always")
def of_block(table, first, n):
    """Contiguous, so that what follows works on several neurons at once."""
    return table[first : first + n]


@njit(inline="always")
def nearest(x):
    """np.rint of a float64 below 2**51, without a call for each."""
    return (x + 1.5 * 2.0**52) - 1.5 * 2.0**52


@njit(inline="always")
def decayed(x, decay):
    """Rounded towards zero. In float64, where products of integers below 2**36 are exact."""
    exact = np.float64(x) * (4096.0 - np.float64(decay)) * 2.0**-12
    kept = nearest(abs(exact))
    kept = kept - 1.0 if kept > abs(exact) else kept
    return kept if exact >= 0.0 else -kept


@inner
def update_loihi(parameter, first, drive, v, i, fired):
    """kernels.loihi, one step of a block's neurons: several short loops, which compilers turn into
    vector code."""
    n = fired.size
    du, dv = of_block(parameter[DU], first, n), of_block(parameter[DV], first, n)
    bias, vth = of_block(parameter[V_BIAS], first, n), of_block(parameter[VTH], first, n)
    for j in range(n):
        u = decayed(i[j], du[j] + np.float32(1)) + nearest(np.float64(drive[j])) * 64.0
        u = u - 2.0 * LIMIT if u > LIMIT else u
        u = u + 2.0 * LIMIT if u <= -LIMIT else u
        i[j] = np.float32(u + 0.0)  # no negative zero
    for j in range(n):
        now = decayed(v[j], dv[j]) + np.float64(i[j]) + np.float64(bias[j])
        now = now if now < LIMIT else LIMIT - 1.0
        v[j] = np.float32(now if now > -LIMIT else 1.0 - LIMIT)
    for j in range(n):
        fired[j] = v[j] > vth[j] * np.float32(64)
    for j in range(n):
        v[j] = np.float32(0) if fired[j] else v[j]


@inner
def update(f, block, total, v, i, fired, drive):
    """One step of a block's neurons; fired uint8[n], or the membranes stay in v; drive: scratch."""
    n, first, kind = block[B_POST], block[B_NEURON], block[B_KIND]
    scale, bias = of_block(f.scale, first, n), of_block(f.bias, first, n)
    v, i = of_block(v, first, n), of_block(i, first, n)
    for j in range(n):
        drive[j] = np.float32(scale[j] * np.float64(total[j]) * 2.0**-15) + bias[j]
    if kind & LOIHI:
        update_loihi(f.parameter, first, drive, v, i, fired)
        return
    if kind & SYNAPSE:
        a_syn = of_block(f.parameter[A_SYN], first, n)
        w_in = of_block(f.parameter[W_IN], first, n)
        for j in range(n):
            i[j] = i[j] + a_syn[j] * (w_in[j] * drive[j] - i[j])
        drive = i
    r = of_block(f.parameter[R], first, n)
    if kind & LEAK:
        a_mem = of_block(f.parameter[A_MEM], first, n)
        v_leak = of_block(f.parameter[V_LEAK], first, n)
        for j in range(n):
            v[j] = v[j] + a_mem[j] * ((v_leak[j] - v[j]) + r[j] * drive[j])
    elif kind & MEMBRANE:
        for j in range(n):
            v[j] = v[j] + r[j] * drive[j]
    else:
        for j in range(n):
            v[j] = drive[j]
    if kind & FIRES:
        threshold = of_block(f.parameter[V_THRESHOLD], first, n)
        for j in range(n):
            fired[j] = v[j] > threshold[j]
    if kind & RESETS:
        reset = of_block(f.parameter[V_RESET], first, n)
        for j in range(n):
            v[j] = reset[j] if fired[j] else v[j]


@inner
def listed(fired, spikes):
    """Indices of what has fired, in ascending order; returns how many."""
    k = 0
    for j in range(fired.size):
        spikes[k] = j
        k += fired[j]
    return k


@inner
def find_active(f, block, fed, v, i, active):
    """Neurons with an input, a bias or a state before the step: uint8, of the block's.

    fed: uint8, of every one of them, or one entry for all
    """
    n, first, kind = active.size, block[B_NEURON], block[B_KIND]
    bias, v, i = of_block(f.bias, first, n), of_block(v, first, n), of_block(i, first, n)
    for j in range(n):
        active[j] = bias[j] != 0
    if fed.size > 1:
        for j in range(n):
            active[j] |= fed[j]
    elif fed[0]:
        for j in range(n):
            active[j] = 1
    if kind & (MEMBRANE | LOIHI):
        for j in range(n):
            active[j] |= v[j] != 0
    if kind & SYNAPSE:
        for j in range(n):
            active[j] |= i[j] != 0
    if kind & LOIHI:
        du = of_block(f.parameter[DU], first, n)
        for j in range(n):
            active[j] |= decayed(i[j], du[j] + np.float32(1)) != 0.0
        bias = of_block(f.parameter[V_BIAS], first, n)
        for j in range(n):
            active[j] |= bias[j] != 0


@entry
def count(f, ones, found):
    """found[step, part] = ones uint8[step, neuron] among its neurons."""
    for t in range(ones.shape[0]):
        for part in range(f.part.shape[0]):
            n = 0
            for j in range(f.part[part, 0], f.part[part, 1]):
                n += ones[t, j]
            found[t, part] = n


@entry
def list_spikes(fired, spikes, n_spikes):
    """Of uint8[step, n], in ascending order: spikes int64[step, n + 1 or more], int64[step]."""
    for t in range(fired.shape[0]):
        n_spikes[t] = listed(fired[t], spikes[t])


@released
def run_block(f, b, v, i, raster, active, outputs, spikes, n_spikes, totals):
    """All steps of the neurons of block b, whose inputs have spiked.

    v, i       float32[neuron], carried
    raster     uint8[step, neuron] gets their spikes
    active     uint8[step, neuron] who had something to do; without rows: not wanted
    outputs    float32[step, n] membranes of the last layer, after the step
    spikes, n_spikes   as list_spikes tells them
    totals     int64[step, neuron] P; of one row: not wanted
    """
    block = f.block[b]
    first, out = block[B_NEURON], block[B_OUTPUT]
    end, sums = first + block[B_POST], np.empty(block[B_POST], np.int16)
    drive = np.empty(block[B_POST], np.float32)
    fed = np.empty(block[B_POST] if block[B_LIST] >= 0 else 1, np.uint8)
    for t in range(raster.shape[0]):
        total = totals[t % totals.shape[0], first:end]
        if block[B_LIST] >= 0:
            integrate_list(f, block, spikes[t], n_spikes[t], fed, total)
        else:
            integrate(f, block, spikes[t], n_spikes[t], sums, total)
            fed[0] = n_spikes[t] > 0
        if active.shape[0]:
            find_active(f, block, fed, v, i, active[t, first:end])
        update(f, block, total, v, i, raster[t, first:end], drive)
        if out >= 0:
            for j in range(end - first):
                outputs[t, out + j] = v[first + j]
