"""Programs on links with finite buffers."""

import json
from dataclasses import replace

from compiler.audit.buffers import largest_messages
from compiler.audit.trees import parent_of_node, tree_of_node
from hw_models.events import LINKS


def smallest(program):
    """Every buffer as large as the largest message that comes."""
    t = program.tables
    largest = largest_messages(program)[tree_of_node(t, parent_of_node(t))]
    bits = [int(largest[t.link_kind[t.node_link] == k].max(initial=1)) for k in range(len(LINKS))]
    return {
        name: -(-most // program.chip.links[name].flit_bits)
        for name, most in zip(LINKS, bits, strict=True)
    }


def with_buffers(program, flits):
    """The same program on links with buffers of so many flits, by kind."""
    chip = json.loads(program.chip_text)
    for name, most in flits.items():
        chip["link"][name]["buffer_flits"] = most
    found = replace(program, chip_text=json.dumps(chip))
    assert all(found.chip.links[name].buffer_flits == most for name, most in flits.items())
    return found
