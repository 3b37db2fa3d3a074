"""What a sampled run says, as JSON and as rows of a table: what was simulated beside what is
estimated from it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from hw_models.si import share, si, whole
from simulator.result import Sampled

_NAMES: Final = {
    "seconds": ("time", "s"),
    "joules": ("energy", "J"),
    "joules_low": ("energy, low costs", "J"),
    "joules_high": ("energy, high costs", "J"),
    "spike_messages": ("spike messages", ""),
    "synops": ("synops", ""),
    "hops": ("hops", ""),
    "context_seconds": ("time, with prompt", "s"),
    "context_joules": ("energy, with prompt", "J"),
}


def sampled_json(found: Sampled) -> dict[str, Any]:
    """The same with every interval's ends, and per decoded token."""
    estimates = {}
    for name, e in found.estimates.items():
        estimates[name] = asdict(e) | {"low": e.total - e.margin, "high": e.total + e.margin}
        if not name.startswith("context"):
            estimates[name] |= {
                "per_token": e.total / found.decoded,
                "per_token_margin": e.margin / found.decoded,
                "per_simulated_token": e.simulated / len(found.windows),
            }
    return asdict(found) | {"decoded": found.decoded, "estimates": estimates}


def sampled_line(found: Mapping[str, Any]) -> str:
    """'32 of 8,123 decoded tokens simulated, of a context of 8,192 (seed 0)'."""
    of = f"{whole(len(found['windows']))} of {whole(found['decoded'])} decoded tokens simulated"
    return f"{of}, of a context of {whole(found['context'])} (seed {found['seed']})"


def sampled_heads(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Heads of the columns of `sampled_rows`."""
    return (
        f"simulated,\nmean of {whole(len(found['windows']))}",
        "estimated,\nper token",
        f"estimated,\n{whole(found['decoded'])} tokens",
        f"± ({share(found['confidence'], 0)})",
    )


def sampled_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(name, simulated, estimated per token, of all tokens, half of the interval) of each."""
    rows = []
    for key, (name, unit) in _NAMES.items():
        e = found["estimates"][key]
        each = (e.get("per_simulated_token"), e.get("per_token"), e["total"])
        cells = (si(x, unit, 4) if unit else whole(x) for x in each[:2])
        rows.append((name, *cells, si(each[2], unit, 4).strip(), _margin(e)))
    return rows


def _margin(e: Mapping[str, float]) -> str:
    """Of the total: '0.12 %'."""
    return share(e["margin"] / e["total"] if e["total"] else None, 2)
