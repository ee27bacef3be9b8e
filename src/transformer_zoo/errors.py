"""The errors a user can meet. Each says what, where, which value and what to do, in one line.

The command line turns a `ZooError` into that line on standard error and the exit code of its class; a traceback appears only under
`--debug`. An `assert` or any other exception is our own fault, never the user's.
"""

from typing import ClassVar


class ZooError(Exception):
    """Anything the user can put right."""

    exit_code: ClassVar[int] = 2


class ConfigError(ZooError):
    """The configuration is wrong. Holds every problem found, so that all are shown at once."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RunNotFoundError(ZooError):
    """A run, study or export that the user names is not there."""


class MissingExtraError(ZooError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'transformer-zoo[{extra}]'")


class DataError(ZooError):
    """A data file is missing, unreadable or holds too little."""

    exit_code = 3


class NumericError(ZooError):
    """A loss or gradient is not finite."""

    exit_code = 4


class CheckpointError(ZooError):
    """A checkpoint is missing, damaged or belongs to another configuration."""

    exit_code = 5


class StoppedError(ZooError):
    """Stopped by a signal after the state was saved; the exit code is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def stopped_exit_code(self) -> int:
        return 128 + self.signal_number
