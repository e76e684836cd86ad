"""From observations to sub-steps while a task is under way: the vlm_node's logic. No ROS."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from dexvla_model.observation import Observation
from dexvla_model.policy import SubStep
from dexvla_model.task_progress import TaskProgress
from dexvla_ros.policy_protocol import Answer


class Outcome(IntEnum):
    """How a task ended; the numbers are those of dexvla_msgs/ExecuteTask."""

    SUCCEEDED = 0
    TIMED_OUT = 1
    CANCELED = 2
    FAILED = 3


@dataclass(frozen=True)
class Ending:
    """The outcome of a task and, in one sentence, why."""

    outcome: Outcome
    message: str


@dataclass
class Task:
    """One goal: what was asked, since when (`started_s`), and how it goes. `episode` counts the goals."""

    instruction: str
    timeout_s: float
    started_s: float
    episode: int
    progress: TaskProgress
    answer: SubStep | None = None


class PolicyRequests(Protocol):
    """What the loop needs of a `PolicyProcess`."""

    def request(self, method: str, *arguments: object, on_answer: Callable[[Answer], None]) -> None:
        """See `PolicyProcess.request`."""


class ReasoningListener(Protocol):
    """Who is told what the loop finds out."""

    def on_sub_step(self, task: Task, substep: SubStep, inference_s: float, is_new: bool) -> None:
        """The policy has answered; `is_new`: with another text than before."""

    def on_end(self, task: Task, ending: Ending) -> None:
        """The task is over: the robot has to hold."""


@dataclass
class ReasoningLoop:
    """Asks the policy about the newest observation, never an older one, and decides when the task is over.

    Args:
        observation_timeout_s: a task fails when there was no observation for this long.
        confirmations, confirm_s: how often in a row, and over what time, the policy has to say it is done.
    """

    policy: PolicyRequests
    listener: ReasoningListener
    clock: Callable[[], float]
    observation_timeout_s: float
    confirmations: int
    confirm_s: float
    seed: int = 0
    task: Task | None = None
    _episodes: int = 0
    _waiting: Observation | None = field(default=None, repr=False)
    _newest_s: float | None = None
    _asked: bool = False

    def start(self, instruction: str, timeout_s: float) -> Task:
        """Begin a task; one that is under way is cancelled."""
        self.end(Ending(Outcome.CANCELED, "Replaced by a new goal."))
        self._episodes += 1
        progress = TaskProgress(self.confirmations, self.confirm_s)
        self.task = Task(instruction, timeout_s, self.clock(), self._episodes, progress)
        self._waiting = None
        self._newest_s = None
        self.policy.request(
            "reset", self.seed + self._episodes, on_answer=lambda answer: self._on_reset(answer)
        )
        return self.task

    def end(self, ending: Ending) -> None:
        """End the task that is under way, if any."""
        if self.task is not None:
            task, self.task = self.task, None
            self.listener.on_end(task, ending)

    def fail(self, reason: str) -> None:
        """End the task that is under way, if any, as failed."""
        self.end(Ending(Outcome.FAILED, f"{reason[:1].upper()}{reason[1:]}."))

    def on_observation(self, observation: Observation) -> None:
        """Take the newest observation."""
        if self.task is None or observation.stamp_s < self.task.started_s:
            return
        self._waiting = observation
        self._newest_s = observation.stamp_s
        self._ask()

    def check(self) -> None:
        """To be called often: ends a task that takes too long or sees nothing."""
        if self.task is None:
            return
        now_s = self.clock()
        if now_s < self.task.started_s:
            self.fail("the clock was set back")
        elif now_s - self.task.started_s >= self.task.timeout_s:
            message = f"The policy did not say within {self.task.timeout_s:g} s that the task is done."
            self.end(Ending(Outcome.TIMED_OUT, message))
        elif now_s - (self._newest_s or self.task.started_s) > self.observation_timeout_s:
            self.fail(
                f"there was no observation for {self.observation_timeout_s:g} s "
                "(see /diagnostics of camera_node)"
            )

    def _ask(self) -> None:
        if self.task is None or self._waiting is None or self._asked:
            return
        task, observation = self.task, self._waiting
        self._waiting = None
        self._asked = True
        self.policy.request(
            "reason",
            observation,
            task.instruction,
            task.answer,
            on_answer=lambda answer: self._on_answer(task, answer),
        )

    def _on_reset(self, answer: Answer) -> None:
        if answer.error:
            self.fail(f"the policy could not begin an episode: {answer.error}")

    def _on_answer(self, task: Task, answer: Answer) -> None:
        self._asked = False
        if task is self.task:
            if answer.error:
                self.fail(f"the policy could not reason: {answer.error}")
            else:
                self._take(task, answer.value, answer.duration_s)
        self._ask()

    def _take(self, task: Task, substep: SubStep, inference_s: float) -> None:
        is_new = task.progress.add(substep)
        task.answer = substep
        self.listener.on_sub_step(task, substep, inference_s, is_new)
        if task.progress.finished:
            self.end(Ending(Outcome.SUCCEEDED, f"The policy says {substep.text!r}."))
