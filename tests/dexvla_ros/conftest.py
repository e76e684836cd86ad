"""What the tests of dexvla_ros share."""

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dexvla_model.resources import find_resource
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


@pytest.fixture
def witness():
    """A node in a domain of its own, with an executor: talks to other nodes and looks at what becomes of them."""
    # Here, for the tests that do without ROS.
    from dexvla_ros.graph_client import GraphClient
    from dexvla_ros.own_domain import own_domain

    with own_domain():
        client = GraphClient("witness", False)
        yield client
        client.close()


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


class _Recorded(SimpleNamespace):
    """Stands for any class of `launch`: keeps what it was made with."""

    def __init__(self, *args, **kwargs):
        super().__init__(args=args, kwargs=kwargs)


# The modules of `launch` that the launch files use, with the names that they take from them.
_LAUNCH = {
    "launch": ["LaunchContext", "LaunchDescription"],
    "launch.action": ["Action"],
    "launch.actions": [
        "DeclareLaunchArgument",
        "EmitEvent",
        "ExecuteProcess",
        "IncludeLaunchDescription",
        "OpaqueFunction",
        "RegisterEventHandler",
        "Shutdown",
    ],
    "launch.event_handlers": ["OnProcessStart"],
    "launch.events": ["matches_action"],
    "launch.launch_description_sources": ["AnyLaunchDescriptionSource"],
    "launch.substitutions": ["LaunchConfiguration"],
    "launch_ros": [],
    "launch_ros.actions": ["LifecycleNode", "Node"],
    "launch_ros.event_handlers": ["OnStateTransition"],
    "launch_ros.events": [],
    "launch_ros.events.lifecycle": ["ChangeState"],
    "launch_ros.parameter_descriptions": ["ParameterValue"],
}


@pytest.fixture
def read_launch_file(monkeypatch):
    """Reads launch/NAME.launch.py with `launch` and `launch_ros` replaced: no wheels have them.

    Returns the module, and the keyword arguments of everything that it makes, by class.
    """
    made = defaultdict(list)

    def recording(name: str) -> type:
        def init(self, *args, **kwargs):
            _Recorded.__init__(self, *args, **kwargs)
            made[name].append(kwargs)

        return type(name, (_Recorded,), {"__init__": init})

    for name, members in _LAUNCH.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, recording(member))
        monkeypatch.setitem(sys.modules, name, module)
    configuration = sys.modules["launch.substitutions"].LaunchConfiguration
    configuration.perform = lambda self, context: context[self.args[0]]
    monkeypatch.delitem(sys.modules, "dexvla_ros.launch_support", raising=False)

    def read(name: str):
        path = find_resource(f"launch/{name}.launch.py")
        spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module, made

    yield read
    sys.modules.pop("dexvla_ros.launch_support", None)
