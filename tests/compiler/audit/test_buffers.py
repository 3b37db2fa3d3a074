"""Buffers too small and links in a circle are found in a program, whoever wrote it."""

import pytest

from compiler.audit.buffers import check_buffers, largest_messages, named
from compiler.audit.verify import verify
from hw_models.errors import BadInput, DoesNotFit
from tests.buffers import smallest, with_buffers
from tests.rings import ring
from tests.tiny import tiny


def problems(program):
    return {check.name: check.problem for check in verify(program) if check.problem}


@pytest.mark.parametrize("name", ["local", "x", "y", "chip_x", "host"])
def test_one_flit_less_than_the_largest_message_is_refused_by_kind(name):
    flits = smallest(tiny())
    check_buffers(with_buffers(tiny(), flits))
    assert not problems(with_buffers(tiny(), flits))
    short = with_buffers(tiny(), flits | {name: flits[name] - 1})
    with pytest.raises(DoesNotFit, match=f"buffers of {name} links hold {flits[name] - 1} ") as e:
        check_buffers(short)
    assert f"bits has {flits[name]}" in str(e.value)
    assert e.value.fix == f"--set link.{name}.buffer_flits={flits[name]} (0: unbounded)"
    assert f"buffers of {name} links" in problems(short)["link buffers hold any message"]


def test_all_that_are_too_small_are_told_at_once():
    flits = smallest(tiny())
    with pytest.raises(DoesNotFit) as caught:
        check_buffers(with_buffers(tiny(), {"x": 1, "y": 1}))
    wanted = " ".join(f"--set link.{name}.buffer_flits={flits[name]}" for name in "xy")
    assert caught.value.fix == f"{wanted} (0: unbounded)"


def test_the_largest_messages_are_those_of_the_formats():
    """On toy: spikes, sums, values and markers with their headers, as the target's file has it."""
    program = tiny()
    t, chip = program.tables, program.chip
    found = largest_messages(program)
    for task in range(t.task_core.size):
        for e in range(t.task_emit[task], t.task_emit[task + 1]):
            tree, kind, n = int(t.emit_tree[e]), int(t.emit_class[e]), int(t.emit_n[e])
            name = ("spike", "partial", "value")[kind]
            form = chip.formats[name]
            each = form.payload_bits
            if name == "spike":
                each = program.codings[program.graph.sites[t.task_site[task]].name][1]
                n, marker = 1, chip.formats["marker"]
            if name == "partial":
                each = program.partial_bits[program.graph.linears[t.task_linear[task]].name]
            bits = form.header_bits + min(n, form.values_per_message) * each
            if name == "spike":
                bits = max(bits, marker.header_bits + marker.payload_bits)
            assert found[tree] == bits


def test_links_in_a_circle_are_named_where_buffers_have_an_end():
    program = ring()
    check_buffers(with_buffers(program, dict.fromkeys(smallest(program), 0)))
    with pytest.raises(BadInput, match="wait for each other in a circle") as caught:
        check_buffers(program)
    for link in (
        "x from router (0, 0) to router (1, 0)",
        "y from router (1, 0) to router (1, 1)",
        "x from router (1, 1) to router (0, 1)",
        "y from router (0, 1) to router (0, 0)",
    ):
        assert link in str(caught.value)


def test_links_of_cores_and_the_host_are_named_by_them():
    mesh = tiny().mesh
    assert named(tiny(), [3, mesh.host_in, mesh.host_out]) == [
        "local from core 3 to router (3, 0)",
        "host from the host to router (0, 0)",
        "host from router (0, 0) to the host",
    ]
