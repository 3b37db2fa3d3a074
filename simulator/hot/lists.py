"""What spikes add where synapses are lists: scattered, one by one."""

from numba import int64

from simulator.hot.jit import inner


@inner
def list_sums(sums, first, neuron, value, counts):
    """sums[j] = sum over inputs of count * value of its synapse with neuron j, if it has one.

    sums    int64[n], written
    first   int64[n_pre + 1] where an input's synapses begin in neuron (uint16) and value (int32)
    counts  int32[n_pre]
    """
    sums[:] = 0
    for i in range(counts.size):
        if counts[i]:
            for k in range(first[i], first[i + 1]):
                sums[neuron[k]] += int64(counts[i]) * value[k]
