"""An activity as a program could have left it: every site, count and choice is looked at first."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity
from compiler.conditions import condition_of
from compiler.graph import Condition, Gla, Router, Stage, feeds
from compiler.program import Program
from hw_models.errors import BadInput
from simulator.machine import head_site

Counts = tuple[NDArray[np.int32], np.float32]
"""Counts int32[n] of a site and token, and V_th (NaN where it is not known)."""

_FIX = "an activity of a run of this model"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was spiked, chosen and touched, by token; prompt and tokens as of a functional run."""

    prompt: int
    tokens: int
    activity: Activity
    row: dict[str, dict[int, int]]  # of a site: {token: row}

    def counts(self, site: str, token: int) -> Counts:
        row = self.row[site][token]
        return self.activity.counts[site][row], self.activity.v_th[site][row]

    def chosen(self, router: Router, token: int) -> tuple[int, ...]:
        return self.activity.chosen[router.name][token]

    def active(self, stage: Gla, token: int) -> NDArray[np.uint8]:
        told = self.activity.active[stage.name][token]
        return told.reshape(stage.heads, stage.head_dim).astype(np.uint8)


def recorded(program: Program, activity: Activity, where: str) -> Recorded:
    """An activity that lies at `where`.

    The head may have run for the last tokens only, and an expert runs for those that chose it.
    Raises BadInput for other sites, channels, tokens, routers or experts than the program has, for
    choices of other width, and for counts that its spikes cannot carry.
    """
    graph, head, spiking = program.graph, head_site(program), program.graph.takes_spikes
    runs = condition_of(graph)
    condition = {site: runs[stage.name] for stage in graph.stages for site in feeds(stage)}
    always = [name for name, own in condition.items() if own is None]
    _check_names("site", activity.counts, always, list(condition), where)
    for of, kind in ((activity.chosen, Router), (activity.active, Gla)):
        own = [stage.name for stage in graph.stages if isinstance(stage, kind)]
        _check_names(kind.kind, of, own, own, where)
    for site in graph.sites:
        _check_counts(program, site.name, site.n, activity.counts.get(site.name, []), where)
    most = max(len(activity.tokens[name]) for name in always)
    for stage in graph.stages:
        _check_told(stage, activity, most, where)
    for name, own in condition.items():
        wanted = _tokens(activity, own, most)
        found = activity.tokens.get(name, [])
        late = name == head and not spiking and found and found == wanted[-len(found) :]
        if found != wanted and not late:
            what = f"{len(found)} tokens of site {name}, {len(wanted)} of others"
            if len(found) == len(wanted):
                what = f"other tokens of site {name} than of others"
            if own is not None:
                what = f"{len(found)} tokens of site {name}; expert {own[1]} of {own[0]} was "
                what += f"chosen for {len(wanted)}, or for others"
            raise BadInput(what, where=where, fix=_FIX)
    row = {name: {token: i for i, token in enumerate(of)} for name, of in activity.tokens.items()}
    ran = len(activity.tokens[head])
    prompt, tokens = (0, most) if spiking else (most - ran + 1, ran)
    return Recorded(prompt, tokens, activity, row)


def digest(activity: Activity) -> str:
    """sha256 of all that was recorded but thresholds, in the order of the sites' names."""
    found = hashlib.sha256()
    for site in sorted(activity.counts):
        found.update(site.encode())
        found.update(np.array(activity.tokens[site], np.int64).tobytes())
        found.update(np.ascontiguousarray(activity.stacked(site), np.int32).tobytes())
    for of in (activity.chosen, activity.active):
        for stage, told in sorted(of.items()):
            found.update(stage.encode())
            found.update(np.array(told, np.int32).tobytes())
    return found.hexdigest()


def _check_names(
    kind: str, found: dict[str, list[NDArray[np.int32]]], needed: list[str], known: list[str],
    where: str,
) -> None:  # fmt: skip
    """Nothing is lacking, nothing is of another model."""
    what = {"site": "counts", "router": "choices", "gla": "active channels"}[kind]
    for name in needed:
        if not found.get(name):
            raise BadInput(f"no {what} of {kind} {name}", where=where, fix=_FIX)
    for name in found:
        if name not in known:
            raise BadInput(f"there is no {kind} {name}", where=where, fix=_FIX)


def _check_counts(
    program: Program, site: str, n: int, rows: Sequence[NDArray[np.int32]], place: str
) -> None:
    """Every token has a count per channel, and each fits a spike's payload."""
    coding, bits = program.codings[site]
    low, high = -(2**31 - 1), 2**31 - 1
    if coding == "binary":
        low, high = 0, 1
    elif coding == "graded":
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    for token, row in enumerate(rows):
        where = f"{place}: site {site}, token {token}"
        if row.shape != (n,):
            raise BadInput(f"{row.size} channels; the program has {n}", where=where, fix=_FIX)
        outside = (row < low) | (row > high)
        if outside.any():
            worst = int(row[outside.argmax()])
            what = f"a count of {worst}; {coding} spikes carry {low} to {high}"
            raise BadInput(what, where=where, fix=_FIX)


def _check_told(stage: Stage, activity: Activity, most: int, place: str) -> None:
    """Every token has a choice per router, of as many experts as it takes, and a mark per head and
    key channel of linear attention."""
    if not isinstance(stage, Router | Gla):
        return
    told = (activity.chosen if isinstance(stage, Router) else activity.active)[stage.name]
    if len(told) != most:
        what = f"{len(told)} tokens of {stage.kind} {stage.name}, {most} of others"
        raise BadInput(what, where=place, fix=_FIX)
    for token, row in enumerate(told):
        where = f"{place}: {stage.kind} {stage.name}, token {token}"
        what = _wrong_choice(stage, row) if isinstance(stage, Router) else _wrong_marks(stage, row)
        if what:
            raise BadInput(what, where=where, fix=_FIX)


def _wrong_choice(router: Router, experts: Sequence[int]) -> str:
    if len(experts) != router.top_k:
        return f"{len(experts)} experts chosen; the router takes {router.top_k}"
    outside = [expert for expert in experts if not 0 <= expert < router.n]
    if outside:
        return f"expert {outside[0]} chosen; the router has 0 to {router.n - 1}"
    if list(experts) != sorted(set(experts)):
        return f"experts {list(experts)} chosen: they are told once each, ascending"
    return ""


def _wrong_marks(stage: Gla, marks: NDArray[np.integer]) -> str:
    wanted = stage.heads * stage.head_dim
    if marks.size != wanted:
        return f"{marks.size} key channels; the program has {wanted}"
    outside = (marks < 0) | (marks > 3)
    if outside.any():
        return f"a mark of {marks.reshape(-1)[outside.reshape(-1).argmax()]}; there are 0 to 3"
    return ""


def _tokens(activity: Activity, condition: Condition | None, most: int) -> list[int]:
    """Those of `most` for which a condition holds."""
    if condition is None:
        return list(range(most))
    router, expert = condition
    return [token for token, experts in enumerate(activity.chosen[router]) if expert in experts]
