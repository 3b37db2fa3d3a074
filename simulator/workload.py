"""Counts that are known before a run, in place of values: replayed, or drawn at random.

Nothing is computed then and no weights are needed: messages, deliveries, synops, hops, energy and
time follow from the counts alone, and there are no logits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity
from compiler.graph import Gla, Router
from compiler.program import Program
from hw_models.errors import BadInput, Usage
from simulator.profile import draw, pmfs
from simulator.recorded import Counts, digest, recorded
from simulator.run_folder import read_activity


@dataclass(frozen=True, slots=True)
class Workload:
    """Where counts come from, and of how many tokens.

    prompt, tokens: as of a functional run: tokens prefilled, and tokens sampled (of steps of
    spikes: 0, and the steps); counts(site, token); chosen(router, token): experts; active(gla,
    token): channels that touch the state, uint8[heads, d] as in compiler.activity; asked: plain
    values that `again` makes it from
    """

    name: Literal["functional", "replay", "profile"]
    origin: str
    prompt: int
    tokens: int
    counts: Callable[[str, int], Counts]
    chosen: Callable[[Router, int], tuple[int, ...]]
    active: Callable[[Gla, int], NDArray[np.uint8]]
    asked: dict[str, Any]


def again(program: Program, asked: dict[str, Any]) -> Workload:
    """The workload that was asked for; raises as it did."""
    return replay(program, **asked) if "activity" in asked else profile(program, **asked)


def replay(program: Program, activity: Activity, where: str = "an activity") -> Workload:
    """What was spiked in an earlier run, on this or another target; `where` it lies.

    Raises BadInput where the program cannot have done it (simulator.recorded).
    """
    found = recorded(program, activity, where)
    origin = f"counts of sha256 {digest(activity)}"
    ways = found.counts, found.chosen, found.active
    asked = {"activity": activity, "where": where}
    return Workload("replay", origin, found.prompt, found.tokens, *ways, asked)


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
        return tuple(sorted(rng.choice(router.n, router.top_k, replace=False).tolist()))

    def all_active(stage: Gla, token: int) -> NDArray[np.uint8]:
        """How many are silent is not published: as if none were."""
        return np.full((stage.heads, stage.head_dim), 3, np.uint8)

    origin = f"drawn with seed {seed}: {program.statistics['origin']}"
    asked = {"seed": seed, "prompt": None if spiking else prompt, "tokens": tokens}
    ways = counts, chosen_experts, all_active
    return Workload("profile", origin, prompt, tokens, *ways, asked)


def lengthened(found: Workload, tokens: int) -> Workload:
    """A profile of more or fewer sampled tokens; the counts of those they share are the same."""
    return replace(found, tokens=tokens, asked={**found.asked, "tokens": tokens})


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
