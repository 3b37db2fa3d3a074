"""Counts that are known before a run, in place of values: replayed, or drawn at random.

Nothing is computed then and no weights are needed: messages, deliveries, synops, hops, energy and
time follow from the counts alone, and there are no logits.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity
from compiler.graph import Router
from compiler.program import Program
from hw_models.errors import BadInput, Bug, Unsupported, Usage
from simulator.machine import head_site
from simulator.profile import draw, pmfs
from simulator.run_folder import read_activity

Counts = tuple[NDArray[np.int32], np.float32]
"""Counts int32[n] of a site and token, and V_th (NaN where it is not known)."""

_FIX = "an activity of a run of this model"


@dataclass(frozen=True, slots=True)
class Workload:
    """Where counts come from, and of how many tokens.

    prompt, tokens: as of a functional run: tokens prefilled, and tokens sampled (of steps of
    spikes: 0, and the steps); counts(site, token); chosen(router, token): experts; asked: plain
    values that `again` makes it from
    """

    name: Literal["replay", "profile"]
    origin: str
    prompt: int
    tokens: int
    counts: Callable[[str, int], Counts]
    chosen: Callable[[Router, int], tuple[int, ...]]
    asked: dict[str, Any]


def again(program: Program, asked: dict[str, Any]) -> Workload:
    """The workload that was asked for; raises as it did."""
    return replay(program, **asked) if "activity" in asked else profile(program, **asked)


def replay(program: Program, activity: Activity, where: str = "an activity") -> Workload:
    """What was spiked in an earlier run, on this or another target; `where` it lies.

    The head may have run for some of the tokens only: then it ran for the last ones.
    Raises BadInput for other sites, channels or tokens than the program has, and for counts that
    its spikes cannot carry; Unsupported for experts, whose choice an activity does not tell.
    """
    if any(isinstance(stage, Router) for stage in program.graph.stages):
        what = "an activity does not say which experts a token chose"
        raise Unsupported(what, where=program.graph.model, fix="--workload profile")
    sites, spiking, head = program.graph.sites, program.graph.takes_spikes, head_site(program)
    names = [site.name for site in sites]
    lacking = [name for name in names if not activity.counts.get(name)]
    foreign = [name for name in activity.counts if name not in names]
    if lacking or foreign:
        what = f"no counts of site {lacking[0]}" if lacking else f"there is no site {foreign[0]}"
        raise BadInput(f"{what} of {program.graph.model}", where=where, fix=_FIX)
    for site in sites:
        _check_counts(program, site.name, site.n, activity.counts[site.name], where)
    length = {name: len(activity.counts[name]) for name in names}
    most = max(length.values())
    for name, n in length.items():
        if n != most and (name != head or spiking):
            raise BadInput(f"{n} tokens of site {name}, {most} of others", where=where, fix=_FIX)
    first = most - length[head]

    def counts(site: str, token: int) -> Counts:
        row = token - (first if site == head else 0)
        return activity.counts[site][row], activity.v_th[site][row]

    prompt, tokens = (0, most) if spiking else (first + 1, most - first)
    origin = f"counts of sha256 {_digest(activity)}"
    asked = {"activity": activity, "where": where}
    return Workload("replay", origin, prompt, tokens, counts, _no_experts, asked)


def _no_experts(router: Router, token: int) -> tuple[int, ...]:
    raise Bug("experts are asked for that were refused before", where=router.name)


def _digest(activity: Activity) -> str:
    """Of all counts, in the order of the sites' names."""
    found = hashlib.sha256()
    for site in sorted(activity.counts):
        found.update(site.encode())
        found.update(np.ascontiguousarray(activity.stacked(site), np.int32).tobytes())
    return found.hexdigest()


def _check_counts(
    program: Program, site: str, n: int, rows: list[NDArray[np.int32]], place: str
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


def profile(
    program: Program, *, seed: int = 0, prompt: int | None = None, tokens: int | None = None
) -> Workload:
    """Counts drawn from what the program's mapping expected of every site.

    prompt, tokens: None for those of the program's own prompt, or 1 and what it decodes (of steps
    of spikes: none, and 64). Same seed, same counts, whatever is asked for in which order.
    Raises BadInput for a number below 1 and for a program that does not say what it expects.
    """
    spiking = program.graph.takes_spikes
    if spiking and prompt is not None:
        raise Usage("a network of spiking neurons has no prompt", where="--prompt-tokens")
    known = program.prompt
    if prompt is None:
        prompt = 0 if spiking else max(1, len(known.ids) if known else 1)
    if tokens is None:
        tokens = known.tokens if known else 64
    for n, where in ((prompt if not spiking else 1, "--prompt-tokens"), (tokens, "--tokens")):
        if n < 1:
            raise BadInput(f"{n} tokens", where=where, fix="at least 1")
    if seed < 0:
        raise BadInput(f"a seed of {seed}", where="--seed", fix="0 or more")
    index = {site.name: (i, site.n) for i, site in enumerate(program.graph.sites)}
    shapes = pmfs(program)

    @lru_cache(maxsize=2)  # blocks of one population ask one after another
    def counts(site: str, token: int) -> Counts:
        at, n = index[site]
        rng = np.random.default_rng((seed, at, token))
        return draw(rng, n, shapes[site]), np.float32(np.nan)

    routers = [stage.name for stage in program.graph.stages if isinstance(stage, Router)]

    def chosen_experts(router: Router, token: int) -> tuple[int, ...]:
        """All experts are as likely."""
        rng = np.random.default_rng((seed, len(index) + routers.index(router.name), token))
        return tuple(rng.choice(router.n, router.top_k, replace=False).tolist())

    origin = f"drawn with seed {seed}: {program.statistics['origin']}"
    asked = {"seed": seed, "prompt": None if spiking else prompt, "tokens": tokens}
    return Workload("profile", origin, prompt, tokens, counts, chosen_experts, asked)


def chosen(
    program: Program,
    name: str,
    *,
    activity: Path | None,
    seed: int | None,
    prompt: int | None,
    tokens: int | None,
) -> Workload | None:
    """The workload of a command line, None for a functional one; Usage for an option that is
    another workload's."""
    given = {"--activity": activity, "--seed": seed, "--prompt-tokens": prompt}
    own = {"replay": ["--activity"], "profile": ["--seed", "--prompt-tokens"]}.get(name, [])
    for option, value in given.items():
        if value is not None and option not in own:
            other = "replay" if option == "--activity" else "profile"
            fix = f"--workload {other}"
            raise Usage(f"the workload {name} has no {option}", where=option, fix=fix)
    if name == "functional":
        return None
    if name == "profile":
        return profile(program, seed=seed or 0, prompt=prompt, tokens=tokens)
    if tokens is not None:
        raise Usage("an activity says how many tokens there are", where="--tokens")
    if activity is None:
        fix = "--activity RUN_DIR"
        raise Usage("a replay needs the activity of a run", where="--activity", fix=fix)
    return replay(program, read_activity(activity), str(activity))
