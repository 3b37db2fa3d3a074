"""Conditions of a graph: expert e of router r is chosen (compiler.graph.Condition).

Tables name a condition by its number here; -1 is none: for every token.
"""

from collections.abc import Mapping

from compiler.graph import Condition, Graph, Residual, Router, Stage


def conditions(graph: Graph) -> tuple[Condition, ...]:
    """All of them: router by router in execution order, experts ascending."""
    routers = (stage for stage in graph.stages if isinstance(stage, Router))
    return tuple((router.name, expert) for router in routers for expert in range(router.n))


def first_of(graph: Graph) -> Mapping[str, int]:
    """Number of the condition of every router's expert 0."""
    return {router: i for i, (router, expert) in enumerate(conditions(graph)) if expert == 0}


def added_up(graph: Graph) -> tuple[str, ...]:
    """Of every condition, in their order, the linear that the stream is added."""
    stages = (stage for stage in graph.stages if isinstance(stage, Residual))
    behind = {stage.router: stage.experts for stage in stages}
    return tuple(behind[router][expert] for router, expert in conditions(graph))


def shares(graph: Graph) -> Mapping[Condition | None, float]:
    """Tokens for which a condition holds, of all, when a router's experts are chosen alike often.

    Routers are trained towards that; what they do is not published.
    """
    found: dict[Condition | None, float] = {None: 1.0}
    for stage in graph.stages:
        if isinstance(stage, Router):
            found |= {(stage.name, expert): stage.top_k / stage.n for expert in range(stage.n)}
    return found


def condition_of(graph: Graph) -> Mapping[str, Condition | None]:
    """Condition under which every stage and linear runs, by name."""
    found = {linear.name: linear.condition for linear in graph.linears}
    return found | {stage.name: _own(stage, found) for stage in graph.stages}


def _own(stage: Stage, linears: Mapping[str, Condition | None]) -> Condition | None:
    return None if stage.linear is None else linears[stage.linear]
