"""What snnTorch, Norse and Sinabs export, and answer, is what comes out here (tests/nir)."""

from pathlib import Path

import numpy as np
import pytest

from compiler.frontends.nir import Stepping
from compiler.pipeline import compile_model
from tests.spiking import simulated

NETWORKS = {
    "snntorch_lif": None,
    "snntorch_cubalif": None,
    "norse_lif": Stepping(1e-6),
    "sinabs_cnn": None,
    "sinabs_lif": Stepping(1.0, "exact"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_framework_s_own_spikes(root, name):
    path = root / "tests" / "nir" / f"{name}.nir"
    with np.load(path.with_suffix(".npz")) as kept:
        spikes, wanted = kept["spikes"], kept["out"]
    program = compile_model(path, target="toy", stepping=NETWORKS[name])
    assert 0 < wanted.mean() < 0.5
    np.testing.assert_array_equal(simulated(program, spikes), wanted)


def test_every_network_kept_is_compared(root):
    assert {p.stem for p in Path(root, "tests", "nir").glob("*.nir")} == set(NETWORKS)
