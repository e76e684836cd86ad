"""What a node and its policy worker say to each other through their pipe."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is to load and how much of the machine it may take.

    Attributes:
        policy: `scripted`, or the name or path of a checkpoint.
        robot: name or path of the robot file.
        method: what it will be asked for, `reason` or `act`: it gets ready for that while it loads.
        threads: threads of a matrix product.
        device, dtype, compile_network: see `dexvla_model.checkpoint.load_policy`.
    """

    policy: str
    robot: str
    method: str
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    compile_network: bool = False


@dataclass(frozen=True)
class Ready:
    """The policy is loaded; `policy` is its own name for itself."""

    policy: str


@dataclass(frozen=True)
class Unable:
    """The policy cannot be loaded. `is_user_error`: `message` is a sentence for the user, not a traceback."""

    message: str
    is_user_error: bool


@dataclass(frozen=True)
class Request:
    """Call `method` of the policy with `arguments`."""

    number: int
    method: str
    arguments: tuple


@dataclass(frozen=True)
class Answer:
    """What a request came to: `value`, or the one-line `error` that was raised, after `duration_s`."""

    number: int
    value: Any
    error: str
    duration_s: float
