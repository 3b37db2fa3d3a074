"""The errors a user can meet; each says what, where, and the nearest fix."""


class SpikeloomError(Exception):
    """A failure with its exit code; only the command lines catch it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"at: {self.where}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "; ".join(parts)


class Bug(SpikeloomError):
    """A broken promise of ours, not of the user's."""

    exit_code = 1


class Usage(SpikeloomError):
    """A command line that contradicts itself or asks for nothing."""

    exit_code = 2


class BadInput(SpikeloomError):
    """A file or value that is missing, broken or unsafe."""

    exit_code = 3


class Unsupported(SpikeloomError):
    """A model, operation or target ability that does not exist."""

    exit_code = 4


class DoesNotFit(SpikeloomError):
    """A limit of the target is exceeded."""

    exit_code = 5


class GateFailed(SpikeloomError):
    """A check that the user asked for did not hold."""

    exit_code = 6
