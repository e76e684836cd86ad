"""What the tests of the drivers share: a clock, and simulated devices that are found by name."""

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic, sleep

import pytest

from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_ros.drivers.configuration import load_driver
from dexvla_ros.drivers.driver import Driver

# Tests are imported by path: what they share besides fixtures has to be found by name.
sys.path.insert(0, str(Path(__file__).parent))


# A busy machine keeps a simulated device waiting for longer than a real one ever takes.
PATIENCE = {
    "leap": (
        ("answer_timeout_s: 0.034", "answer_timeout_s: 0.25"),
        ("command_timeout_s: 0.2", "command_timeout_s: 5.0"),
    ),
    "inspire": (
        ("answer_timeout_s: 0.1", "answer_timeout_s: 0.3"),
        ("command_timeout_s: 0.3", "command_timeout_s: 5.0"),
    ),
    "piper": (("feedback_timeout_s: 0.1", "feedback_timeout_s: 0.5"),),
}

# A robot's URDF takes a moment to expand.
robot_named = cache(load_robot)


@dataclass
class Log:
    """What a driver said."""

    problems: list[str] = field(default_factory=list)
    recoveries: list[str] = field(default_factory=list)


@dataclass
class Rig:
    """A driver on a device, turned by hand. Its clock is real where a bus is."""

    driver: Driver
    joints: tuple[str, ...]
    log: Log
    bounds: object

    def command(self, positions):
        self.driver.command(self.joints, positions)

    def steps(self, count=1):
        states = [self.driver.step() for _ in range(count)]
        return states[-1]

    def until(self, condition, patience_s=30.0):
        """Step until something is so; a fault of the test when it never is."""
        end_s = monotonic() + patience_s
        while monotonic() < end_s:
            state = self.driver.step()
            if condition():
                return state
            sleep(0.005)
        raise AssertionError(f"not within {patience_s} s: {self.driver.status()}")

    def fresh(self):
        """Step until there is a state, and return it."""
        states = []
        self.until(lambda: states.append(self.driver.step()) or states[-1] is not None)
        return states[-1]

    @property
    def lost(self):
        """Answers that were lost or useless so far."""
        return self.driver.status().values["answers lost"]

    @property
    def phase(self):
        return self.driver.phase.value

    @property
    def problem(self):
        return self.driver.status().problem


@pytest.fixture
def driver_file(tmp_path):
    """Function from a kind of device and text replacements to its driver file, patient and with these changes."""

    def write(kind, changes=()):
        text = find_resource(f"config/drivers/{kind}.yaml").read_text()
        for old, new in (*PATIENCE[kind], *changes):
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / f"{kind}.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def make_rig(driver_file):
    """Function from a kind of device, a robot and text replacements in its driver file to a rig."""
    rigs = []
    # A test does not wait for a device that comes back.
    at_once = (
        ("reconnect_first_s: 0.5", "reconnect_first_s: 0.01"),
        ("reconnect_max_s: 10.0", "reconnect_max_s: 0.02"),
    )

    def make(kind, robot, port, changes=(), clock=None):
        path = driver_file(kind, (*at_once, *changes))
        file = load_driver(kind, robot_named(robot), path, port)
        log = Log()
        clocks = {} if clock is None else {"clock": clock}
        driver = Driver(
            file.device, file.settings, file.bounds, log.problems.append, log.recoveries.append, **clocks
        )
        rigs.append(Rig(driver, file.device.joints, log, file.bounds))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.driver.close()
