"""SpikingBrain's arithmetic from literals: a changed price in cmos45.toml breaks these."""

from dataclasses import replace

import pytest

from hw_models.cost import Range
from hw_models.device import load_device
from simulator.paper import Spiking, measure, paper_table

# Horowitz, ISSCC 2014, 45 nm, pJ; and arXiv 2509.05276, section 5.5
ADD8, ADD32, MULTIPLY8 = 0.03, 0.1, 0.2
FP16_MAC = 1.1 + 0.4
BYTE = 10 / 8  # 64-bit read of an 8 KiB SRAM
SPIKES, SILENT = 1.13, 0.184


@pytest.fixture
def cmos45():
    return load_device("cmos45")


def quoted(run, device):
    return [step.paper for step in paper_table(run, device).steps if step.paper]


def test_the_first_row_is_the_papers(run, cmos45):
    cell = quoted(run, cmos45)[0]
    assert cell.spiking_pj == pytest.approx(0.0339, rel=1e-12)
    assert cell.fp16_pj == pytest.approx(1.5, rel=1e-12)
    assert cell.int8_pj == pytest.approx(0.23, rel=1e-12)
    assert round(100 * cell.vs_fp16, 1) == -97.7
    assert round(100 * cell.vs_int8, 1) == -85.3  # the paper rounds first: -85.2


def test_the_papers_rounding_is_told(run, cmos45):
    how = paper_table(run, cmos45).steps[0].how
    assert "1.13 x 0.03 pJ = 0.0339 pJ, printed as 0.034: -97.7 %, -85.2 %" in how


@pytest.mark.parametrize(
    ("row", "spiking", "fp16", "int8", "percent"),
    [
        (1, SPIKES * ADD32, FP16_MAC, MULTIPLY8 + ADD8, -50.9),
        (2, SPIKES * ADD32, FP16_MAC, MULTIPLY8 + ADD32, -62.3),
        (3, SPIKES * (ADD32 + BYTE), FP16_MAC + 2 * BYTE, MULTIPLY8 + ADD32 + BYTE, -1.6),
        (4, SPIKES * ADD32 + 0.816 * BYTE, FP16_MAC + 2 * BYTE, 0.30 + BYTE, -26.9),
        (5, SPIKES * ADD32 + 0.816 * BYTE, 0.816 * 4.0, 0.816 * 1.55, -10.4),
    ],
)
def test_what_is_left_step_by_step(run, cmos45, row, spiking, fp16, int8, percent):
    cell = quoted(run, cmos45)[row]
    assert cell.spiking_pj == pytest.approx(spiking, rel=1e-12)
    assert cell.fp16_pj == pytest.approx(fp16, rel=1e-12)
    assert cell.int8_pj == pytest.approx(int8, rel=1e-12)
    assert round(100 * cell.vs_int8, 1) == percent


@pytest.mark.parametrize(
    "key", ["int8_add", "int32_add", "int8_mult", "fp16_add", "fp16_mult", "sram_8kib"]
)
def test_every_price_of_the_table_counts(run, cmos45, key):
    def cells(device):
        return [(c.spiking_pj, c.fp16_pj, c.int8_pj) for c in quoted(run, device)]

    op = cmos45.ops[key]
    double = replace(op, energy=Range(*(2 * e for e in (op.energy.low, op.energy.nominal, 0))))
    changed = replace(cmos45, ops={**cmos45.ops, key: double})
    assert cells(changed) != cells(cmos45)


def test_a_runs_activity_is_its_synops_per_mac(run):
    # 1.2 spikes for every channel and token, rounded per site; the head is dense and left out
    found = measure(run)
    assert found.adds == pytest.approx(1.2, abs=1e-3)
    assert found.macs == 0
    assert found.silent == pytest.approx(0.2, abs=1e-3)


def test_a_graded_spike_is_priced_as_a_mac(graded_run, cmos45):
    table = paper_table(graded_run, cmos45)
    assert table.measured.adds == 0
    first = table.steps[0].run
    assert first.spiking_pj == pytest.approx(table.measured.macs * (MULTIPLY8 + ADD8))
    assert first.vs_int8 == pytest.approx(table.measured.macs - 1)


def test_a_run_without_spiking_linears_measures_nothing(run, cmos45):
    dense = {
        name: op | {"threshold": "absmax16"} if "threshold" in op else op
        for name, op in run.operations.items()
    }
    table = paper_table(replace(run, operations=dense), cmos45)
    assert table.measured is None
    assert all(step.run is None for step in table.steps)


def test_sources_are_cited(run, cmos45):
    sources = " ".join(paper_table(run, cmos45).sources)
    assert "2509.05276" in sources
    assert "Horowitz" in sources
    assert Spiking(1.13, 0.0, 0.184) == paper_table(run, cmos45).quoted
