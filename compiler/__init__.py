"""From a checkpoint to a verified program for a chip."""

from typing import Any

__all__ = ["compile_model"]


def __getattr__(name: str) -> Any:
    if name == "compile_model":  # heavy: imported when used
        from compiler.pipeline import compile_model

        return compile_model
    raise AttributeError(name)
