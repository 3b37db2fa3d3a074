"""How long, in how much memory and how well models are mapped: python -m benchmarks.compile

Every compile is the command `sbcompile` in a process of its own, imports included; memory is its
largest resident set. Kernels are compiled by Numba before (the cold row says what that takes).
Models of other sizes than the published ones are configs drawn from their shapes, without weights.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.goal import Goal
from benchmarks.process import run
from benchmarks.random_checkpoint import config_of, count, write
from benchmarks.weights import ROOT
from benchmarks.weights import measure as measure_weights

FULL = ("spikingbrain-7b", "hala-point-like")
SIZES = {0.1e9: 768, 0.5e9: 1280, 1e9: 2048, 3e9: 2560, 7e9: 3584, 14e9: 5120}
"""Weights of the growth table, and the width of a model of that size."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compile; ratios are achieved / bound. bits: on chip links per decoded token."""

    model: str
    target: str
    weights: int
    wall_s: float
    peak_bytes: int
    verify_s: float
    cores: int
    chips: int
    cores_ratio: float
    chip_bits: int
    chip_bits_ratio: float | None
    mesh_ratio: float | None
    sbx_bytes: int
    sha256: str


def compiled(
    folder: Path, words: list[str], target: str, weights: int, cold: bool = False
) -> Compiled:
    """Run sbcompile and sbcompile verify; raises CalledProcessError."""
    program = folder / "program.sbx"
    env = os.environ | ({"NUMBA_CACHE_DIR": str(folder / "cache")} if cold else {})
    command = ["-m", "compiler.cli", *words, "--target", target, "--out", str(program), "--json"]
    wall_s, peak, told = run(command, env)
    found = json.loads(told)["result"]
    began = time.perf_counter()
    run(["-m", "compiler.cli", "verify", str(program)], env)
    verify_s = time.perf_counter() - began
    bounds = found["bounds"]
    return Compiled(
        model=found["model"],
        target=target,
        weights=weights,
        wall_s=wall_s,
        peak_bytes=peak,
        verify_s=verify_s,
        cores=found["n_cores"],
        chips=found["n_chips"],
        cores_ratio=bounds["cores"]["ratio"],
        chip_bits=bounds["bits on chip links"]["achieved"],
        chip_bits_ratio=bounds["bits on chip links"].get("ratio"),
        mesh_ratio=bounds["bits x links of the mesh"].get("ratio"),
        sbx_bytes=program.stat().st_size,
        sha256=found["program_sha256"],
    )


def full_size(folder: Path, cold: bool = False) -> Compiled:
    """SpikingBrain-7B on a Hala-Point-class system."""
    return compiled(folder, ["--preset", FULL[0]], FULL[1], 7_615_283_200, cold)


def goals(found: Compiled) -> list[Goal]:
    """What the full-size compile must show."""
    return [
        Goal("wall", found.wall_s, 60, 30, "s"),
        Goal("memory", found.peak_bytes / 1e9, 4, 4, "GB"),
        Goal("cores / bound", found.cores_ratio, 1.10, 1.10),
        Goal("bits on chip links / bound", float(found.chip_bits_ratio or 0), 2.5, 2.0),
    ]


def growth(folder: Path, most: float) -> Iterator[Compiled]:
    """Configs of growing size, on the same target."""
    for size, hidden in SIZES.items():
        if size > most:
            return
        own = folder / f"gla_swa-{size / 1e9:g}b"
        own.mkdir()
        config = config_of(size, hidden, family="gla_swa")
        (own / "config.json").write_text(json.dumps(config))
        yield compiled(folder, [str(own / "config.json")], "loihi-like", count(config))


def from_disk(folder: Path, weights: float) -> dict[str, Any]:
    """A random checkpoint on disk, compiled with its weights."""
    checkpoint = folder / "checkpoint"
    n = write(checkpoint, config_of(weights))
    rate = measure_weights(checkpoint)
    made = compiled(folder, [str(checkpoint)], "loihi-like", n)
    return {
        "compile": asdict(made),
        "weights_mb_per_s": rate.mb_per_s,
        "beyond_program_bytes": made.peak_bytes - made.sbx_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--most", type=float, default=14e9, help="weights of the growth table's end"
    )
    parser.add_argument("--disk", type=float, default=1e9, help="weights of the checkpoint on disk")
    chosen = parser.parse_args()
    build = ROOT / "build"  # on a disk, where the system's temporary folder may be in memory
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as made:
        folder = Path(made)
        cold, warm, again = full_size(folder, cold=True), full_size(folder), full_size(folder)
        table = list(growth(folder, chosen.most))
        disk = from_disk(folder, chosen.disk)
    found = {
        "full_size": asdict(warm),
        "full_size_cold_wall_s": cold.wall_s,
        "deterministic": len({cold.sha256, warm.sha256, again.sha256}) == 1,
        "goals": [g.as_json() for g in goals(warm)],
        "growth": [asdict(row) for row in table],
        "from_disk": disk,
    }
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found, warm, table)


def _print(found: dict[str, Any], warm: Compiled, table: list[Compiled]) -> None:
    print(f"{warm.model} on {warm.target}: {warm.cores:,} cores on {warm.chips:,} chips")
    for goal in goals(warm):
        print(f"  {goal.name:28} {goal.found:9.3f} {goal.unit:3} {goal.told}")
    print(f"  {'bits on chip links':28} {warm.chip_bits:,} per decoded token")
    print(f"  {'the mesh, bits x links':28} {warm.mesh_ratio or 0:9.3f} of the bound")
    print(f"  {'verified in':28} {warm.verify_s:9.1f} s")
    print(f"  {'with an empty Numba cache':28} {found['full_size_cold_wall_s']:9.1f} s")
    print(f"  the same bytes three times: {'yes' if found['deterministic'] else 'NO'}")
    print("\nweights      wall s   s/G weights   GB     cores   chips  cores/bound  bits/bound")
    for row in table:
        print(
            f"{row.weights / 1e9:6.2f} G  {row.wall_s:8.1f}  {row.wall_s / row.weights * 1e9:11.1f}"
            f"  {row.peak_bytes / 1e9:5.2f}  {row.cores:8,}  {row.chips:6,}"
            f"  {row.cores_ratio:10.3f}  {row.chip_bits_ratio or float('nan'):10.3f}"
        )
    disk = found["from_disk"]
    made = disk["compile"]
    print(
        f"\n{made['weights'] / 1e9:.2f} G weights from disk: {made['wall_s']:.1f} s in all, "
        f"weights at {disk['weights_mb_per_s']:.0f} MB/s of checkpoint, "
        f"{max(0, disk['beyond_program_bytes']) / 1e9:.2f} GB of memory beyond the program's "
        f"{made['sbx_bytes'] / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
