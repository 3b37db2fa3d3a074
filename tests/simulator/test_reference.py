"""`--check` sees any count, threshold, sum or logit that is not the canonical executor's."""

import copy

import numpy as np
import pytest

from hw_models.errors import GateFailed
from simulator.drive import Simulation
from simulator.reference import compare, numbers_of
from tests.small import model
from tests.tiny import TINY, tiny

TOKENS = (3, 17, 17, 8)


def simulated(first_logits=0):
    simulation = Simulation(tiny(), keep_sums=True, first_logits=first_logits)
    for token in TOKENS:
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    return simulation.found


@pytest.fixture(scope="module")
def found():
    return simulated()


def test_a_programs_numbers_are_those_it_was_compiled_from():
    numbers, wanted = numbers_of(tiny()), model(0, TINY)[2]
    assert numbers.linears.keys() == wanted.linears.keys()
    for name, (w8, bias) in wanted.linears.items():
        for a, b in zip(
            (w8.q, w8.m, w8.row_scale, bias),
            (*(getattr(numbers.linears[name][0], f) for f in ("q", "m", "row_scale")),
             numbers.linears[name][1]),
            strict=True,
        ):  # fmt: skip
            assert a.dtype == b.dtype and (a == b).all()
    assert (numbers.embedding == wanted.embedding).all()
    assert all((numbers.vectors[n] == v).all() for n, v in wanted.vectors.items())


def test_a_sound_run_passes_and_tells_its_progress(found):
    steps = []
    compare(tiny(), found, TOKENS, lambda *step: steps.append(step))
    assert steps == [("check", n, 4) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("first_logits", [1, 3])
def test_where_the_head_did_not_run_there_is_nothing_to_compare(first_logits):
    late = simulated(first_logits)
    assert len(late.logits) == len(late.sums["head"]) == 4 - first_logits
    compare(tiny(), late, TOKENS)
    late.sums["head"][0][3] += 1
    with pytest.raises(GateFailed) as caught:
        compare(tiny(), late, TOKENS)
    assert caught.value.where == f"head, token {first_logits}"


def sites_and_linears():
    graph = tiny().graph
    return [s.name for s in graph.sites], [lin.name for lin in graph.linears]


@pytest.mark.parametrize("token", [0, 3])
def test_one_count_threshold_sum_or_logit_is_named(found, token):
    sites, linears = sites_and_linears()
    for site in sites:
        wrong = copy.deepcopy(found)
        wrong.activity.counts[site][token][5] += 1
        expect(wrong, "counts", f"{site}, token {token}")
        wrong = copy.deepcopy(found)
        v_th = wrong.activity.v_th[site][token]
        wrong.activity.v_th[site][token] = np.nextafter(v_th, np.float32(1))
        expect(wrong, "counts", f"{site}, token {token}")
    for linear in linears:
        wrong = copy.deepcopy(found)
        wrong.sums[linear][token][2] -= 1
        expect(wrong, "sums", f"{linear}, token {token}")
    wrong = copy.deepcopy(found)
    wrong.logits[token][0] = np.nextafter(wrong.logits[token][0], np.float32(9))
    expect(wrong, "logits", f"token {token}")


def test_the_first_in_the_order_of_execution_is_named(found):
    wrong = copy.deepcopy(found)
    sites, linears = sites_and_linears()
    wrong.logits[1][0] += 1
    wrong.sums[linears[4]][1][0] += 1
    wrong.activity.counts[sites[6]][1][0] += 1
    wrong.sums[linears[0]][2][0] += 1
    expect(wrong, "sums", f"{linears[4]}, token 1")


def expect(wrong, what, where):
    with pytest.raises(GateFailed) as caught:
        compare(tiny(), wrong, TOKENS)
    assert caught.value.what == f"{what} differ from the canonical executor's"
    assert caught.value.where == where
    assert caught.value.exit_code == 6
