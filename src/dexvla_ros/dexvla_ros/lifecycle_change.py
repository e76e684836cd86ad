"""One lifecycle node on its way through one transition, whatever is lost on the way."""

from time import monotonic

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.task import Future

# Real time after which a node that has not answered is asked for its state, and after that is asked again.
_LOOK_PERIOD_S = 3.0
# Number of the transition, and the state to which it leads.
_TRANSITIONS = {
    "configure": (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
    "activate": (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
}


class LifecycleChange:
    """Asks for a transition, and asks again where no answer comes.

    A node that is idle and has not changed its state a while after it was asked has not heard of it; one that has
    changed it is done, answer or no answer. A node that works on the transition says nothing, and is left alone.

    Args:
        node: asks; turned by whoever waits.
        name: the node that is asked. transition: `configure` or `activate`.
    """

    def __init__(self, node: Node, name: str, transition: str) -> None:
        number, self._goal = _TRANSITIONS[transition]
        self._node = node
        self._request = ChangeState.Request(transition=Transition(id=number))
        self._change = node.create_client(ChangeState, f"{name}/change_state")
        self._look = node.create_client(GetState, f"{name}/get_state")
        self._answers: list[Future] = []
        self._seen: Future | None = None
        self._next_s = 0.0

    def is_possible(self) -> bool:
        """Whether the node can be asked."""
        return self._change.service_is_ready() and self._look.service_is_ready()

    @property
    def answer(self) -> Future:
        """The node's answer when it was asked last; it never comes if something was lost."""
        return self._answers[-1]

    def ask(self) -> None:
        """Ask for the transition."""
        self._answers.append(self._change.call_async(self._request))
        self._seen = None
        self._next_s = monotonic() + _LOOK_PERIOD_S

    def has_ended(self) -> bool:
        """Whether the node has answered, or is in the state to which the transition leads."""
        if self._is_there() or any(answer.done() for answer in self._answers):
            return True
        if monotonic() >= self._next_s:
            self._next_s = monotonic() + _LOOK_PERIOD_S
            if self._seen is not None and self._seen.done():
                self.ask()
            else:
                self._seen = self._look.call_async(GetState.Request())
        return False

    def succeeded(self) -> bool:
        """Whether the node went through the transition; to be asked when it has ended."""
        return self._is_there() or any(answer.done() and answer.result().success for answer in self._answers)

    def close(self) -> None:
        """Give back what was created to ask."""
        for client in (self._change, self._look):
            self._node.destroy_client(client)

    def _is_there(self) -> bool:
        seen = self._seen
        return seen is not None and seen.done() and seen.result().current_state.id == self._goal
