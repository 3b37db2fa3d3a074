"""Memory that a program takes per synapse: python -m benchmarks.resident PROGRAM.sbx

Loads the program, decodes a token, and prints by how much the process has grown, in bytes per
synapse. A small program runs before, so that neither imports nor Numba's compiler count.
"""

import sys
from pathlib import Path

from benchmarks.engine import ROOT, decode
from compiler.pipeline import compile_model
from compiler.program import Program
from simulator.drive import Simulation


def resident_bytes() -> int:
    """Of this process, now (Linux)."""
    (line,) = (
        text for text in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in text
    )
    return int(line.split()[1]) * 1024


def main(path: Path) -> float:
    """Bytes per synapse."""
    decode(compile_model(ROOT / "examples/byte_lm/model.pt", "loihi-like"), b"a")
    before = resident_bytes()
    program = Program.read(path)
    simulation = Simulation(program, in_flight=1)
    simulation.start(1, 0)
    for _ in simulation.advance():
        pass
    return (resident_bytes() - before) / simulation.fixed.weight.size


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
