"""The service by which action_node gives the controllers up, and how a node asks for it."""

from std_srvs.srv import SetBool

from dexvla_ros.nodes.stack_node import StackNode

# Of action_node: true = brake, then leave the controllers to another node; false = go on.
PAUSE_SERVICE = "action_node/pause"
# An answer that has not come after this long is asked for again, in real time.
_PATIENCE_S = 1.0


class PolicyPause:
    """Keeps the policy paused for as long as it is wanted, also one that is started later.

    Call `keep` some times per second.
    """

    def __init__(self, node: StackNode) -> None:
        self._node = node
        self._client = node.ask(SetBool, PAUSE_SERVICE)
        self._wanted = False
        self._confirmed: bool | None = None
        self._asked_s: float | None = None

    def want(self, paused: bool) -> None:
        """Ask the policy to pause, or to go on."""
        self._wanted = paused
        self._confirmed = self._asked_s = None
        # One that was never there is not to be told to go on when it comes.
        if paused or self._client.service_is_ready():
            self._ask()

    def leave_to_another(self) -> None:
        """Another node has the policy pause by now, and tells it when to go on."""
        self._wanted = False
        self._confirmed = self._asked_s = None

    def keep(self) -> None:
        """Ask again where there was no answer, or where the policy has been started anew."""
        if not self._client.service_is_ready():
            self._confirmed = self._asked_s = None
            return
        if not self._wanted or self._confirmed:
            return
        if self._asked_s is None or self._node.real_s() - self._asked_s > _PATIENCE_S:
            self._ask()

    def problem(self) -> str:
        """Why the policy is not known to pause; empty = it does, or there is none."""
        if not self._client.service_is_ready() or self._confirmed:
            return ""
        return "action_node has not answered that it pauses"

    def _ask(self) -> None:
        if not self._client.service_is_ready():
            return
        wanted = self._wanted
        self._asked_s = self._node.real_s()

        def on_answer(future) -> None:
            answer = future.result()
            if answer is not None and answer.success and self._wanted == wanted:
                self._confirmed = wanted

        self._client.call_async(SetBool.Request(data=wanted)).add_done_callback(on_answer)
