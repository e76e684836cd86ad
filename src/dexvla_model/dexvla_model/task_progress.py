"""How a task goes on, told from the sub-steps that the policy says: which were said, and whether it is done."""

from dataclasses import dataclass, field

from dexvla_model.policy import SubStep


@dataclass
class TaskProgress:
    """Collects the sub-steps of one task.

    A single "done" may be a slip of the tongue, so the task counts as finished only when the policy has said
    it in `confirmations` answers in a row, over at least `confirm_s` seconds of observations.
    """

    confirmations: int = 3
    confirm_s: float = 0.5
    sub_steps: list[str] = field(default_factory=list)
    _finished_since_s: float | None = None
    _finished_count: int = 0
    _newest_s: float = 0.0

    def add(self, substep: SubStep) -> bool:
        """Take the policy's newest answer; True if it differs from the one before."""
        self._newest_s = substep.stamp_s
        if substep.finished:
            if self._finished_since_s is None:
                self._finished_since_s = substep.stamp_s
            self._finished_count += 1
        else:
            self._finished_since_s = None
            self._finished_count = 0
        if self.sub_steps and self.sub_steps[-1] == substep.text:
            return False
        self.sub_steps.append(substep.text)
        return True

    @property
    def finished(self) -> bool:
        """The policy has said often and long enough that the instruction is carried out."""
        if self._finished_since_s is None or self._finished_count < self.confirmations:
            return False
        return self._newest_s - self._finished_since_s >= self.confirm_s
