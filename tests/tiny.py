"""A model of a few hundred channels on cores of 1 KiB: every kind of net and block, few events."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from compiler.frontends.config import GlaSwaConfig
from compiler.pipeline import compile_graph
from compiler.program import Program
from hw_models.chip import load_chip
from tests.small import model

# on TINY_CORE: rings of two stripes, sites of several blocks, linears of several tiles, two chips
TINY = GlaSwaConfig(
    vocab_size=20,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=40,
    sliding_window=60,
)
TINY_CORE = {"core.synapse_memory": "1 KiB", "core.state_memory": "1536 B"}


@cache
def tiny(coding: str = "bitwise", target: str = "toy", **overrides: str) -> Program:
    """TINY compiled; overrides are a target's keys with __ for the dot (toy: on TINY_CORE)."""
    graph, tensors, _ = model(0, TINY)
    chosen = {key.replace("__", "."): value for key, value in overrides.items()}
    chip = load_chip(target, (TINY_CORE if target == "toy" else {}) | chosen)
    return compile_graph(graph, tensors, chip, coding=coding)


def changed(program: Program, **columns: Mapping[int, Any]) -> Program:
    """The program with some entries of its tables replaced: column={row: value}."""
    tables = {}
    for name, cells in columns.items():
        tables[name] = getattr(program.tables, name).copy()
        for row, value in cells.items():
            tables[name][row] = value
    return replace(program, tables=replace(program.tables, **tables))
