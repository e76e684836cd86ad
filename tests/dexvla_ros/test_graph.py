"""The whole graph over DDS: from an instruction to a cube in the tray, and when a node dies on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.ros

# The world may run slower than real time on a busy machine; the demo itself waits accordingly.
PATIENCE_S = 300.0
NODES = ("sim_node", "camera_node", "vlm_node", "action_node")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Demo:
    """`dexvla demo` in a process of its own, in a domain of its own."""

    def __init__(self, output: Path, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
        self.output = output
        self.errors = (output / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dexvla_ros.cli.main", "demo", "--policy", "scripted", "--json"]
            + ["--output", str(output), *arguments],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.seen: set[int] = set()

    def processes(self) -> dict[str, psutil.Process]:
        """The nodes and workers that run now, by the last part of their module's name."""
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if "-m" in command:
                self.seen.add(child.pid)
                found[command[command.index("-m") + 1].rpartition(".")[2]] = child
        return found

    def wait_for(self, condition, what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the demo ended before {what}: {self.said()}"
            assert time.monotonic() < deadline_s, f"waited in vain until {what}: {self.said()}"
            self.processes()
            time.sleep(0.05)

    def finish(self) -> list[dict]:
        """Wait for its end; the JSON lines it printed."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return [json.loads(line) for line in out.splitlines()]

    def stderr(self) -> str:
        self.errors.flush()
        self.errors.seek(0)
        return self.errors.read()

    def said(self) -> str:
        """What it and every node printed, for the message of a test that fails."""
        logs = [f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.output.glob("logs/*.log"))]
        return "\n".join([self.stderr(), *logs])

    def left_behind(self) -> list[int]:
        """Processes of the graph that still run a while later."""
        deadline_s = time.monotonic() + 10.0
        running = [pid for pid in self.seen if is_running(pid)]
        while running and time.monotonic() < deadline_s:
            time.sleep(0.05)
            running = [pid for pid in running if is_running(pid)]
        return running

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture
def start_demo(tmp_path):
    demos = []

    def start(*arguments: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments))
        return demos[-1]

    yield start
    for demo in demos:
        demo.close()


def test_a_scripted_episode_succeeds_over_dds_and_leaves_nothing_running(start_demo, tmp_path):
    recording = tmp_path / "commands.npz"
    demo = start_demo("--seed", "3", "--record-commands", str(recording))
    demo.wait_for(lambda: set(NODES) <= demo.processes().keys(), "every node runs")
    demo.wait_for(lambda: "policy_worker" in demo.processes(), "the policy workers run")
    lines = demo.finish()
    assert demo.process.returncode == 0, demo.said()
    episode, summary = lines
    assert episode["success"] is True
    assert episode["outcome"] == "succeeded"
    assert episode["sub_steps"][0].startswith("move above the")
    assert episode["sub_steps"][-1] == "done"
    assert episode["policy"] == "scripted"
    assert episode["waited_for_inference_s"] == 0.0
    assert Path(episode["video"]).stat().st_size > 10_000
    commands = summary["commands"]
    assert commands["updates"] > 2000
    assert commands["within_limits"] is True
    assert commands["seams"] > 20
    assert commands["seam_velocity_step_rad_s"] <= commands["other_velocity_step_rad_s"]
    assert demo.left_behind() == []


def test_a_node_that_is_killed_is_named_and_the_robot_holds(start_demo):
    demo = start_demo("--seed", "3", "--no-video")
    demo.wait_for(lambda: "grasp the" in demo.stderr(), "the robot grasps")
    demo.processes()["vlm_node"].send_signal(signal.SIGKILL)
    (episode,) = demo.finish()
    assert demo.process.returncode == 3
    assert "The robot holds." in demo.stderr()
    assert "vlm_node was killed by SIGKILL" in demo.stderr()
    assert episode["success"] is False
    assert "vlm_node was killed by SIGKILL" in episode["error"]
    assert demo.left_behind() == []


def test_an_interrupt_leaves_nothing_running(start_demo):
    demo = start_demo("--seed", "3")
    demo.wait_for(lambda: "policy_worker" in demo.processes(), "the policy workers run")
    demo.process.send_signal(signal.SIGINT)
    demo.finish()
    assert demo.process.returncode == 130
    assert demo.left_behind() == []
