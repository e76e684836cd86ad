"""Keys and gamepad buttons of `dexvla record`, from a YAML file. No ROS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.yaml_reader import MappingReader, parse_yaml

# In the order in which the screen explains them.
ACTIONS = {
    "start": "begin an episode",
    "success": "end it: a success",
    "failure": "end it: a failure, kept",
    "discard": "end it and delete it (twice)",
    "mark": "the next sub-step begins now",
    "type_mark": "a sub-step that you type begins now",
    "instruction": "type another instruction",
    "help": "show or hide the keys",
    "quit": "end",
}
BUTTON_ACTIONS = ("start", "success", "failure", "discard", "mark")
# What may happen while the hand is on the robot.
_ALWAYS = ("mark",)


@dataclass(frozen=True)
class GamepadConfig:
    """Which button does what.

    Attributes:
        topic: of sensor_msgs/Joy.
        unless_held: while this button is held, only marks count; negative = there is none.
    """

    topic: str
    unless_held: int
    buttons: Mapping[str, int]


@dataclass(frozen=True)
class OperatorFile:
    """Key by action-giving key name, and the gamepad."""

    keys: Mapping[str, str]
    gamepad: GamepadConfig


def load_operator_file(path: str | Path = "") -> OperatorFile:
    """Read a file; empty = config/recording/operator.yaml.

    Raises:
        UserError: it is missing, or has an error.
    """
    file = Path(path) if path else find_resource("config/recording/operator.yaml")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the file of keys cannot be read ({error}); correct the path.") from error
    reader = parse_yaml(text, file)
    keys = _read_keys(reader)
    gamepad = _read_gamepad(reader.mapping("gamepad"))
    reader.finish()
    return OperatorFile(keys, gamepad)


class ButtonPresses:
    """From the state of the buttons to the actions that were asked for just now."""

    def __init__(self, config: GamepadConfig) -> None:
        self._config = config
        self._before: tuple[bool, ...] | None = None

    def update(self, buttons: Sequence[int]) -> list[str]:
        """Take a Joy message's buttons; the actions whose button was up before and is down now."""
        now = tuple(bool(button) for button in buttons)
        before, self._before = self._before, now
        if before is None:
            return []  # what is held when the pad appears was not meant for us

        def down(state: tuple[bool, ...], button: int) -> bool:
            return 0 <= button < len(state) and state[button]

        is_driving = down(now, self._config.unless_held)
        return [
            action
            for action, button in self._config.buttons.items()
            if down(now, button) and not down(before, button) and (action in _ALWAYS or not is_driving)
        ]


def _read_keys(reader: MappingReader) -> dict[str, str]:
    entry = reader.mapping("keys")
    keys = {str(key): entry.text(key, allowed=tuple(ACTIONS)) for key in entry.all()}
    for action in ACTIONS:
        if action not in keys.values():
            raise reader.error("keys", f"without {action}", "every action needs a key")
    return keys


def _read_gamepad(reader: MappingReader) -> GamepadConfig:
    topic = reader.text("topic")
    unless_held = reader.integer("unless_held", -1, 255, default=-1)
    entry = reader.mapping("buttons")
    buttons = {action: entry.integer(action, 0, 255) for action in BUTTON_ACTIONS if entry.has(action)}
    entry.finish()
    reader.finish()
    return GamepadConfig(topic, unless_held, buttons)
