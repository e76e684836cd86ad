"""What the operator wants, by keys, buttons or options, made into calls of the recorder; and what to show."""

from collections.abc import Sequence
from time import monotonic

from sensor_msgs.msg import Joy

from dexvla_model.errors import UserError
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.recording.episode_metadata import DISCARDED, FAILURE, SUCCESS
from dexvla_ros.recording.operator_file import ButtonPresses, OperatorFile
from dexvla_ros.recording.recorder_client import RecorderClient

# A discard has to be asked for twice within this time.
_CONFIRM_S = 3.0
_VERDICTS = {"success": SUCCESS, "failure": FAILURE}


class OperatorSession:
    """Several episodes in a row, as the operator says.

    Args:
        instruction, operator, tags: of the first episode; the operator may change the instruction.
        sub_steps: the texts of marks, in their order; may be empty.

    Attributes:
        note: what happened last, for the screen.
        finished: bag and outcome of every episode that was ended here.
        typing: the text that is being typed; None while none is. prompt: what it is for.
    """

    def __init__(
        self,
        client: GraphClient,
        recorder: RecorderClient,
        file: OperatorFile,
        instruction: str,
        operator: str,
        tags: Sequence[str],
        sub_steps: Sequence[str],
    ) -> None:
        self._client = client
        self.recorder = recorder
        self.keys = file.keys
        self.instruction = instruction
        self.operator = operator
        self.tags = tuple(tags)
        self.sub_steps = tuple(sub_steps)
        self.next_sub_step = 0
        self.note = ""
        self.finished: list[tuple[str, str]] = []
        self.typing: str | None = None
        self.prompt = ""
        self.shows_keys = True
        self.quitting = False
        self._mark_ns = 0
        self._discard_until_s = 0.0
        self._asked: list[str] = []
        self._presses = ButtonPresses(file.gamepad)
        client.node.create_subscription(Joy, file.gamepad.topic, self._on_joy, SENSOR)

    def on_key(self, key: str) -> None:
        """A key was pressed: part of a text, or an action."""
        if self.typing is not None:
            self._on_typed(key)
        elif key in self.keys:
            self.do(self.keys[key])
        elif key.isdigit() and 0 < int(key) <= len(self.sub_steps):
            self.next_sub_step = int(key) - 1
            self.do("mark")

    def do_what_was_asked(self) -> None:
        """Carry out what the gamepad's buttons asked for."""
        asked, self._asked = self._asked, []
        for action in asked:
            self.do(action)

    def do(self, action: str) -> None:
        """One of `operator_file.ACTIONS`; what goes wrong becomes the note."""
        try:
            self._do(action)
        except (GraphError, UserError) as error:
            self.note = str(error)

    def _do(self, action: str) -> None:
        if action == "start":
            if not self.instruction:
                self._type("instruction")
                return
            path = self.recorder.start(self.instruction, self.operator, self.tags)
            self.next_sub_step = 0
            self.note = f"recording {path}"
        elif action in _VERDICTS:
            self._judge(_VERDICTS[action])
        elif action == "discard":
            if not self.recorder.recording:
                self.note = "No episode is being recorded."
            elif monotonic() > self._discard_until_s:
                self._discard_until_s = monotonic() + _CONFIRM_S
                self.note = "Once more to delete this episode."
            else:
                self._discard_until_s = 0.0
                self._judge(DISCARDED)
        elif action == "mark" and self.next_sub_step < len(self.sub_steps):
            self._mark(self.sub_steps[self.next_sub_step], 0)
            self.next_sub_step += 1
        elif action in ("mark", "type_mark"):
            if not self.recorder.recording:
                self.note = "No episode is being recorded."
                return
            # The sub-step begins at the key, not when it has been typed.
            self._mark_ns = self._client.node.get_clock().now().nanoseconds
            self._type("sub-step")
        elif action == "instruction":
            self._type("instruction")
        elif action == "help":
            self.shows_keys = not self.shows_keys
        elif action == "quit":
            if self.recorder.recording:
                self.note = "An episode is being recorded: judge it first (Ctrl-C keeps it unjudged)."
            else:
                self.quitting = True

    def _judge(self, outcome: str) -> None:
        path = self.recorder.judge(outcome)
        self.finished.append((path, outcome))
        self.note = f"{outcome}: {path}"

    def _mark(self, text: str, time_ns: int) -> None:
        self.recorder.mark(text, time_ns)
        self.note = f"now: {text}"

    def _type(self, prompt: str) -> None:
        self.prompt, self.typing = prompt, ""

    def _on_typed(self, key: str) -> None:
        if key == "escape":
            self.typing = None
        elif key == "backspace":
            self.typing = self.typing[:-1]
        elif key == "enter":
            text, self.typing = self.typing.strip(), None
            if text:
                self._take_text(text)
        else:
            self.typing += " " if key == "space" else key if len(key) == 1 and key.isprintable() else ""

    def _take_text(self, text: str) -> None:
        if self.prompt == "instruction":
            self.instruction = text
            self.note = "It holds from the next episode on." if self.recorder.recording else ""
            return
        try:
            self._mark(text, self._mark_ns)
        except GraphError as error:
            self.note = str(error)

    def _on_joy(self, message: Joy) -> None:
        self._asked += self._presses.update(message.buttons)
