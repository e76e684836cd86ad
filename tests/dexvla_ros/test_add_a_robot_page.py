"""docs/add-a-robot.md, followed word for word: its files, its commands, and the robot in the simulation."""

import re
import shlex
import sys

import pytest

from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_ros.cli import main as command_line
from dexvla_sim.rollout import Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^`([\w./]+)`:", re.MULTILINE)


def steps(page: str) -> list[tuple[str, str]]:
    """The page's blocks in order: (the file before a block, its text), or ("", a command)."""
    found = []
    for block in FENCE.finditer(page):
        kind, text = block.groups()
        if kind == "sh":
            found += [("", line) for line in text.splitlines()]
        else:
            found.append((FILE.findall(page[: block.start()])[-1], text))
    return found


PAGE = find_resource("docs/add-a-robot.md").read_text(encoding="utf-8")
FILES = {name: text for name, text in steps(PAGE) if name}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An installed share/dexvla_ros with the macros and nothing else, in which the page is followed."""
    share = tmp_path / "share/dexvla_ros"
    for folder in ("urdf", "config/robots", "config/controllers"):
        (share / folder).mkdir(parents=True)
    (share / "urdf/macros").symlink_to(find_resource("urdf/macros"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.chdir(share)
    return share


@pytest.fixture
def dexvla(monkeypatch, capsys):
    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        out, err = capsys.readouterr()
        return caught.value.code, out + err

    return run


def test_it_is_short_and_has_no_python():
    assert [name.partition("/")[0] for name in FILES] == ["urdf", "config", "config"]
    lines = [line for text in FILES.values() for line in text.splitlines() if line.strip()]
    assert len(lines) < 120


def test_following_it_gives_a_robot_that_passes_the_check_and_moves(workplace, dexvla):
    answers, demos = {}, []
    for number, (file, text) in enumerate(steps(PAGE)):
        if file:
            (workplace / file).write_text(text, encoding="utf-8")
        elif text.startswith("dexvla demo"):
            demos.append(text)
        else:
            code, answers[number] = dexvla(text)
            assert code == 0, answers[number]
    written, first, last = answers.values()
    assert "config/robots/toy_arm.yaml" in written and "FILL IN" in written
    assert "controllers have no file" in first and "initial_value is 0.8, but home.toy_elbow_joint" in first
    assert "0 errors" in last and len(last.splitlines()) <= 2
    assert demos == ["dexvla demo --robot toy_arm --policy scripted --task posture"]
    robot = load_robot("toy_arm")
    result = Rollout(Simulation(robot, "posture"), ScriptedPolicy(robot)).run(0, 20.0)
    assert result.success and result.finished and result.refused_chunks == 0
