"""Barrier sync: when a step ends, and what its messages wait for."""

from simulator.hot import state as h
from simulator.hot.jit import inner


@inner
def next_step(f, s):
    """The barrier falls when all is idle; neurons update, and what has waited begins."""
    end = max(s.reg[h.R_NOW], s.reg[h.R_QUIET])
    for i in range(f.used_core.shape[0]):
        end = max(end, s.core[f.used_core[i, h.U_CORE], h.C_FREE])
    start = end + f.service[h.BARRIER_PS]
    for i in range(f.used_core.shape[0]):
        core, duration = f.used_core[i, h.U_CORE], f.used_core[i, h.U_PS]
        s.core[core, h.C_FREE] = start + duration
        s.core[core, h.BUSY] += duration
    for event in range(s.reg[h.R_HEAP]):  # equal before and after: the order stays
        s.heap[event, 0] = start
    s.reg[h.R_DUE_PS] = start
    s.reg[h.R_STEPS] += 1


@inner
def next_is_due(reg, heap, due):
    """Does a message of the step before come next? Turns of tasks come before it."""
    if reg[h.R_TAKEN] == reg[h.R_DUE]:
        return False
    if reg[h.R_HEAP] == 0 or reg[h.R_DUE_PS] != heap[0, 0]:
        return reg[h.R_HEAP] == 0 or reg[h.R_DUE_PS] < heap[0, 0]
    return due[reg[h.R_TAKEN], 0] < heap[0, 1]
