"""The worker that a policy infers in: it answers, it fails aloud, and it never outlives its node."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import psutil
import pytest

from dexvla_model.errors import UserError
from dexvla_model.observation import Observation, RobotState
from dexvla_ros.policy_process import PolicyProcess
from dexvla_ros.policy_protocol import WorkerSetup
from dexvla_sim.simulation import Simulation

# For a machine that is busy: nothing here takes more than a second on one that is not.
PATIENCE_S = 60.0


class Answers:
    """Takes answers from the receiving thread."""

    def __init__(self):
        self.answers = []
        self.deaths = []
        self._came = threading.Semaphore(0)

    def take(self, answer):
        self.answers.append(answer)
        self._came.release()

    def die(self, reason):
        self.deaths.append(reason)
        self._came.release()

    def wait(self):
        assert self._came.acquire(timeout=PATIENCE_S)


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def worker(answers):
    process = PolicyProcess(WorkerSetup("scripted", "ur5e", "act"), 5.0, answers.die)
    process.start(PATIENCE_S)
    yield process
    process.stop()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline_s = time.monotonic() + PATIENCE_S
    while is_running(pid):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def test_a_policy_reasons_and_acts_in_its_own_process(worker, answers, robot):
    simulation = Simulation(robot, "pick_place", seed=3)
    observation = Observation(0.0, {}, simulation.robot_state(), simulation.ground_truth())
    worker.request("reset", 3, on_answer=answers.take)
    worker.request("reason", observation, simulation.instruction, None, on_answer=answers.take)
    answers.wait()
    answers.wait()
    substep = answers.answers[1].value
    assert substep.text.startswith("move above the")
    worker.request("act", substep, observation.state, None, on_answer=answers.take)
    answers.wait()
    chunk = answers.answers[2].value
    assert chunk.joints == robot.action_joints
    assert chunk.positions.shape[1] == len(robot.action_joints)
    assert worker.pid != os.getpid()
    assert worker.ready.policy == "scripted"


def test_what_the_policy_raises_comes_back_in_one_line_and_the_worker_lives_on(worker, answers, robot):
    blind = Observation(0.0, {}, RobotState(0.0, robot.home_positions))
    worker.request("reason", blind, "tidy up", None, on_answer=answers.take)
    answers.wait()
    assert answers.answers[0].error.startswith("InvalidObservation: the scripted policy needs")
    worker.request("reset", 1, on_answer=answers.take)
    answers.wait()
    assert answers.answers[1].error == ""
    assert worker.alive


def test_a_worker_that_is_killed_is_reported_with_the_signal(worker, answers):
    os.kill(worker.pid, signal.SIGKILL)
    answers.wait()
    assert answers.deaths == ["the policy worker died by SIGKILL"]
    assert not worker.alive


def test_a_worker_that_hangs_is_killed_and_reported(answers):
    process = PolicyProcess(WorkerSetup("scripted", "ur5e", "act"), 0.3, answers.die)
    process.start(PATIENCE_S)
    os.kill(process.pid, signal.SIGSTOP)
    process.request("reset", 1, on_answer=answers.take)
    answers.wait()
    assert answers.answers == []
    assert answers.deaths == ["the policy worker gave no answer within 0.3 s and was killed"]
    process.stop()


def test_asking_a_dead_worker_does_nothing(worker, answers):
    os.kill(worker.pid, signal.SIGKILL)
    answers.wait()
    worker.request("reset", 1, on_answer=answers.take)
    assert answers.answers == []


def test_a_worker_that_is_stopped_is_gone_and_is_not_reported_as_dead(worker, answers):
    worker.stop()
    assert wait_until_gone(worker.pid)
    assert answers.deaths == []


def test_an_unknown_policy_is_a_mistake_of_the_users(answers):
    process = PolicyProcess(WorkerSetup("nonsense", "ur5e", "act"), 5.0, answers.die)
    with pytest.raises(UserError, match="nonsense.*scripted"):
        process.start(PATIENCE_S)
    assert wait_until_gone(process.pid)


def test_a_worker_ends_when_its_parent_is_killed():
    program = """
        import time
        from dexvla_ros.policy_process import PolicyProcess
        from dexvla_ros.policy_protocol import WorkerSetup
        process = PolicyProcess(WorkerSetup("scripted", "ur5e", "act"), 5.0, print)
        process.start(60.0)
        print(process.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until_gone(pid)


def test_numbers_survive_the_pipe_exactly(worker, answers, robot):
    simulation = Simulation(robot, "pick_place", seed=4)
    observation = Observation(0.1, {}, simulation.robot_state(), simulation.ground_truth())
    from dexvla_sim.scripted_policy import ScriptedPolicy

    expected = ScriptedPolicy(robot).reason(observation, simulation.instruction)
    worker.request("reason", observation, simulation.instruction, None, on_answer=answers.take)
    answers.wait()
    np.testing.assert_array_equal(answers.answers[0].value.condition, expected.condition)
