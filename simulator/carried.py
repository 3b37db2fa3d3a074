"""What a simulation carries from one event to the next, as plain values, and back.

Everything else of it follows from its program and options. Engine arrays from a file are checked
(simulator/state_check.py) before the engine may read them. What has come out of a run only grows
and is kept apart: a checkpoint adds what is new.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from compiler.accounting import Snapshot
from hw_models.errors import BadInput
from simulator.drive import Simulation, Trajectory
from simulator.lockstep_run import LockstepRun
from simulator.phases import Course
from simulator.population import Outputs
from simulator.result import Phase
from simulator.state_check import check_state

TYPES = {cls.__name__: cls for cls in (Course, Outputs, Phase, Snapshot)}
"""Dataclasses that a checkpoint may hold."""

_EMPTY = {"trace", "closed", "closed_counts"}
"""Engine arrays that hold nothing then."""

_OWN = ("started", "_tokens", "_outputs", "_memory", "_v_th")


def carried(simulation: Simulation | LockstepRun) -> dict[str, Any]:
    """Between two events, all queues of Python's being empty; or between two steps. Trace rows are
    handed on first, and sums are formed that were put off."""
    if isinstance(simulation, LockstepRun):
        return simulation.carried()
    simulation.flush_trace()
    simulation.add_up()
    state = simulation.state._asdict()
    return {
        "state": {name: array for name, array in state.items() if name not in _EMPTY},
        "own": {name: getattr(simulation, name) for name in _OWN},
        "blocks": {task: block.memory for task, block in simulation._blocks.items()},
    }


def restore(simulation: Simulation | LockstepRun, found: dict[str, Any]) -> None:
    """Continue there; the simulation is a fresh one of the same program and options.

    BadInput for what no simulation of them carries.
    """
    if isinstance(simulation, LockstepRun):
        simulation.restore(found)
        return
    if set(found) != {"state", "own", "blocks"} or set(found["own"]) != set(_OWN):
        raise BadInput("other parts than a simulation has")
    for name, value in found["own"].items():
        if type(value) is not type(getattr(simulation, name)):
            raise BadInput(f"{name} is a {type(value).__name__}")
        setattr(simulation, name, value)
    if set(found["blocks"]) != set(simulation._blocks):
        raise BadInput("other blocks of neurons than the program has")
    for task, memory in found["blocks"].items():
        simulation._blocks[task].memory.update(memory)
    fresh = simulation.state
    if set(found["state"]) | _EMPTY != set(fresh._fields):
        raise BadInput("other arrays than the engine has")
    state = fresh._replace(**found["state"])
    check_state(simulation.fixed, state, fresh, simulation.started)
    simulation.state = state


def grown(value: Any, seen: Any) -> Any:
    """What dicts and lists hold beyond `seen` (as `extent` told it); None for nothing new."""
    if isinstance(value, list):
        return value[seen or 0 :] or None
    if isinstance(value, dict):
        new = {}
        for key, item in value.items():
            if not seen or key not in seen:
                new[key] = item
            elif isinstance(item, list | dict) and (more := grown(item, seen[key])) is not None:
                new[key] = more
        return new or None
    raise TypeError(type(value).__name__)


def extent(value: Any) -> Any:
    """How much there is of dicts and lists."""
    if isinstance(value, dict):
        return {key: extent(item) for key, item in value.items()}
    return len(value) if isinstance(value, list) else None


def add(value: Any, new: Any) -> None:
    """Put what `grown` found behind what is there."""
    if isinstance(value, list):
        value.extend(new)
        return
    for key, item in new.items():
        if key in value and isinstance(value[key], list | dict):
            add(value[key], item)
        else:
            value[key] = item


def parts_of(found: Trajectory) -> dict[str, Any]:
    """The dicts of a trajectory, not copied, by field."""
    return {
        f.name: parts_of(item) if is_dataclass(item) else item
        for f in fields(found)
        for item in (getattr(found, f.name),)
    }
