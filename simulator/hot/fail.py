"""An error of the program's run, kept for Python to tell."""

from simulator.hot import state as h
from simulator.hot.jit import inner


@inner
def fail(reg, code, task, token, place, detail):
    """Remember the first error; the event loop stops at it."""
    if reg[h.R_ERROR] == 0:
        reg[h.R_ERROR], reg[h.R_E1], reg[h.R_E2] = code, task, token
        reg[h.R_E3], reg[h.R_E4] = place, detail
