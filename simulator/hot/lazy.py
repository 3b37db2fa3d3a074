"""Gated linear attention whose silent channels leave their row of the state alone.

The twin of kernels.gla.lazy_step, which says what it means.
"""

from simulator.hot.jit import entry
from simulator.hot.state import FETCHED, NO_KEY, NO_QUERY, UNTOUCHED


@entry
def lazy_update(state, late, n_late, q, k, v, decay, tally):
    """Bring one token into the state: rows that it touches take their pending decays first.

    state    float32[head, key, value]  in place; no value columns: only counts are kept
    late     float32[head, key, most]   decays put aside, in token order
    n_late   int64[head, key]           how many
    q, k, v, decay  float32[head, key or value]
    tally    int64[4]                   as named in hot.state; none is kept where most is 0
    """
    most = late.shape[2]
    for head in range(state.shape[0]):
        for i in range(state.shape[1]):
            key, silent, n = k[head, i], q[head, i] == 0, n_late[head, i]
            if silent and key == 0 and n < most:
                late[head, i, n] = decay[head, i]
                n_late[head, i] = n + 1
                tally[UNTOUCHED] += 1
                continue
            for t in range(n):
                for j in range(state.shape[2]):
                    state[head, i, j] *= late[head, i, t]
            for j in range(state.shape[2]):
                state[head, i, j] = state[head, i, j] * decay[head, i] + key * v[head, j]
            n_late[head, i] = 0
            tally[FETCHED] += n
            if most:
                tally[NO_KEY] += key == 0
                tally[NO_QUERY] += silent
