"""The asynchronous event engine, its counters, traces and reports."""

from typing import Any

__all__ = ["report", "simulate"]


def __getattr__(name: str) -> Any:
    if name == "simulate":  # heavy: imported when used
        from simulator.api import simulate

        return simulate
    if name == "report":
        from simulator.build_report import build_report

        return build_report
    raise AttributeError(name)
