"""What the tests of dexvla_ros share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dexvla_model.robot import RobotDescription, load_robot
from dexvla_ros.policy_protocol import Answer


@pytest.fixture(scope="session")
def robot() -> RobotDescription:
    return load_robot("ur5e")


@dataclass
class FakeClock:
    """A node clock that stands where the test puts it."""

    now_s: float = 10.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@dataclass
class FakePolicyProcess:
    """Stands for a policy worker: keeps the requests, and answers when the test says so."""

    requests: list[tuple[str, tuple, Callable[[Answer], None]]] = field(default_factory=list)

    def request(self, method: str, *arguments: object, on_answer: Callable[[Answer], None]) -> None:
        self.requests.append((method, arguments, on_answer))

    def asked(self, method: str) -> list[tuple]:
        """Arguments of the open requests for a method."""
        return [arguments for name, arguments, _ in self.requests if name == method]

    def answer(self, method: str, value: Any = None, error: str = "") -> None:
        """Answer the oldest open request for a method."""
        index = next(index for index, entry in enumerate(self.requests) if entry[0] == method)
        on_answer = self.requests.pop(index)[2]
        on_answer(Answer(0, value, error, 0.125))


@pytest.fixture
def policy() -> FakePolicyProcess:
    return FakePolicyProcess()
