"""NIR's neurons in Loihi's fixed point (kernels.loihi): all their parameters as integers.

A membrane is counted from its reset, in units of which 64 vth reach the threshold. So every neuron
of a population can have the one threshold that Lava and a core's profile give it, whatever NIR's
are: what differs is in its synapses. With f(x) = rint(4096 x):

    if        du = 4095               dv = 0          weight = vth r W / theta
    lif       du = 4095               dv = f(a_mem)   weight = vth a_mem r W / theta
    cubalif   du = f(a_syn) - 1       dv = f(a_mem)   weight = vth a_mem r a_syn w_in W / theta
    bias = 64 vth (a_mem (v_leak - v_reset) + what W's bias drives) / theta

theta = v_threshold - v_reset; a_mem and a_syn are the decays as rounded, so that a constant input
drives a membrane as far as NIR says. vth is the largest for which weights fit 8 bits, biases 13
bits with an exponent, and no current can wrap around if all positive (or all negative) synapses
spike in every step. Other than in NIR, a membrane begins at v_reset, and a bias before a
CubaLIF comes without its synapse's delay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.kept import MOST
from compiler.lists import Matrix
from hw_models.errors import Unsupported
from kernels.loihi import (
    LIMIT,
    MOST_DECAY,
    MOST_EXPONENT,
    MOST_MANTISSA,
    MOST_THRESHOLD,
    UNITY_BITS,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

KINDS: Final = ("if", "lif", "cubalif")
_UNITY: Final = 1 << UNITY_BITS


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Synapses int8[n, n_pre], or a list of them, and one value of each parameter per neuron."""

    weight: NDArray[np.int8] | csr_array
    vectors: Mapping[str, F32]


def fixed_point(p: Mapping[str, F64], weight: Matrix, bias: F32, where: str) -> FixedPoint:
    """A population of one of KINDS, with the parameters of kernels.neurons, behind W and its bias.

    Raises Unsupported where a threshold is not above its reset, or below one synapse's unit.
    """
    theta = p["v_threshold"] - p["v_reset"]
    if not (theta > 0).all():
        raise Unsupported(
            "a threshold that is not above v_reset", where=where, fix="--integration euler"
        )
    du, dv = np.full(theta.size, MOST_DECAY), np.zeros(theta.size, np.int64)
    gain, begins = p["r"], np.zeros(theta.size)
    if "a_mem" in p:
        dv = _rounded(p["a_mem"]).clip(1, MOST_DECAY)
        gain = dv / _UNITY * p["r"]
        begins = dv / _UNITY * (p["v_leak"] - p["v_reset"])
    if "a_syn" in p:
        du = _rounded(p["a_syn"]).clip(1, _UNITY) - 1
        gain = gain * p["w_in"]
    kept = (du + 1) / _UNITY
    with np.errstate(over="ignore"):
        synapses = _scaled(weight, gain * kept / theta)
        biases = 64 * (begins + gain * bias.astype(np.float64)) / theta
    values = synapses if isinstance(synapses, np.ndarray) else synapses.data
    if not (np.isfinite(values).all() and np.isfinite(biases).all()):
        raise Unsupported("synapses beyond float64", where=where, fix="--integration euler")
    vth = _threshold(synapses, biases, kept, where)
    vectors = {"du": du, "dv": dv, "bias": _biases(vth * biases), "vth": np.full(theta.size, vth)}
    return FixedPoint(
        _rinted(vth * synapses).astype(np.int8),
        {key: np.asarray(values, np.float32) for key, values in vectors.items()},
    )


def _scaled(weight: Matrix, factors: F64) -> Any:
    """Every neuron's synapses times its factor; a list stays one."""
    if isinstance(weight, np.ndarray):
        return weight.astype(np.float64) * factors[:, None]
    each = np.repeat(factors, np.diff(weight.indptr))
    parts = (weight.data.astype(np.float64) * each, weight.indices, weight.indptr)
    return csr_array(parts, weight.shape)


def _rinted(weight: Any) -> Any:
    if isinstance(weight, np.ndarray):
        return np.rint(weight)
    return csr_array((np.rint(weight.data), weight.indices, weight.indptr), weight.shape)


def _threshold(synapses: Any, biases: F64, kept: F64, where: str) -> int:
    """The finest scale that fits; synapses and biases are given for a threshold of 1."""
    limits = [float(MOST_THRESHOLD)]
    for values, most in ((synapses, MOST), (biases, MOST_MANTISSA << MOST_EXPONENT)):
        largest = float(abs(values).max())
        limits.append(most / largest if largest else np.inf)
    vth = int(min(limits))
    while vth and _reach(_rinted(vth * synapses), kept) >= LIMIT:
        vth -= max(1, vth // 64)
    if vth < 1:
        raise Unsupported(
            "one spike or bias is worth more than a hundred thresholds",
            where=where,
            fix="--integration euler",
        )
    return vth


def _reach(weight: Any, kept: F64) -> float:
    """The largest current that spikes can drive: 64 (sum of a row) / decay."""
    sizes, sums = abs(weight).sum(1), weight.sum(1)
    up, down = (sizes + sums) / 2, (sizes - sums) / 2
    return float((64 * np.maximum(up, down) / kept).max())


def _rounded(share: F64) -> NDArray[np.int64]:
    return np.rint(_UNITY * share).astype(np.int64)


def _biases(values: F64) -> F64:
    """Each as a mantissa of 13 bits times the least power of two that lets it fit."""
    found, left = np.zeros_like(values), np.ones(values.shape, bool)
    for exponent in range(MOST_EXPONENT + 1):
        mantissa = np.rint(values / 2**exponent)
        fits = left & (np.abs(mantissa) <= MOST_MANTISSA)
        found[fits] = mantissa[fits] * 2**exponent
        left &= ~fits
    return found
