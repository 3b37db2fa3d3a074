"""The numbers of a map agree with the program they are of."""

import io
import json

import pytest
from rich.console import Console

from hw_models.events import LINKS
from simulator.map_data import floorplan
from simulator.map_summary import link_words, render, summary
from tests import experts
from tests.tiny import tiny


@pytest.fixture(scope="module")
def found():
    return summary(floorplan(tiny()))


@pytest.mark.parametrize("made", [tiny, experts.program])
def test_bits_on_links_are_those_of_the_bounds(made):
    """Experts send for their share of the tokens."""
    found = summary(floorplan(made()))
    said = {name: row.get("achieved") for name, row in made().bounds.items()}
    assert round(found["bits_on_links"]["chip"]) == said["bits on chip links"] > 0
    assert round(found["bits_on_links"]["mesh"]) == said["bits x links of the mesh"] > 0
    assert round(found["busiest_links"][0]["bits"]) == said["bits on the busiest chip link"]
    assert found["bounds"] == {name: dict(row) for name, row in made().bounds.items()}


def test_the_busiest_links_come_first_and_join_chips_if_there_are_several(found):
    bits = [row["bits"] for row in found["busiest_links"]]
    assert bits == sorted(bits, reverse=True) and len(bits) > 1
    kinds = {LINKS[tiny().mesh.links.kind[row["link"]]] for row in found["busiest_links"]}
    assert kinds <= {"chip_x", "chip_y"}
    alone = tiny(target="loihi-like")
    kinds = {
        LINKS[alone.mesh.links.kind[row["link"]]]
        for row in summary(floorplan(alone))["busiest_links"]
    }
    assert kinds <= {"x", "y", "host"}


def test_cores_are_as_full_as_what_is_stored_on_them(found):
    program = tiny()
    stored = sum(lin.n_pre * lin.n_post for lin in program.graph.linears)
    room = program.n_cores * program.chip.core.synapse_memory
    full = found["occupancy"]["synapse memory"]
    assert full["mean_share"] == pytest.approx(stored / room)
    assert full["most_share"] == full["most"] / full["limit"] <= 1


def test_a_summary_is_plain_json(found):
    assert json.loads(json.dumps(found)) == found


def test_a_summary_fits_a_terminal_of_100_columns(found):
    out = io.StringIO()
    render(found | {"model": "a[bold]b"}, Console(file=out, width=100))
    assert max(map(len, out.getvalue().splitlines())) <= 100
    assert "a[bold]b" in out.getvalue()


def test_links_have_names_of_their_own():
    mesh = tiny().mesh
    assert len({link_words(mesh, link) for link in range(mesh.n_links)}) == mesh.n_links
    assert link_words(mesh, mesh.host_in) == "host to chip (0, 0)"
    assert link_words(mesh, mesh.host_out) == "chip (0, 0) to host"
    assert link_words(mesh, mesh.first_chip_link + 3) == "chip (0, 0) to chip (0, 1)"
    assert link_words(mesh, mesh.first_mesh_link) == "chip (0, 0), router (0, 0) to (1, 0)"
