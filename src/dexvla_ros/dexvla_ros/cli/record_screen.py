"""The screen of `dexvla record`: what is recorded, and what the keys do."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dexvla_msgs.msg import RecorderStatus, TopicStatistics
from dexvla_ros.recording.operator_file import ACTIONS
from dexvla_ros.recording.operator_session import OperatorSession

_OUTCOME_STYLES = {"success": "green", "failure": "yellow", "discarded": "dim", "unjudged": "yellow"}
# Below this share of its promised rate a topic is shown in red.
_SLOW = 0.8


def record_screen(session: OperatorSession) -> RenderableType:
    """Everything, for one moment."""
    status = session.recorder.status
    parts: list[RenderableType] = [_head(session, status)]
    if status is not None:
        parts.append(topic_table(status))
        if status.warning:
            parts.append(Text(status.warning, "bold red"))
    if session.note:
        parts.append(Text(session.note, "cyan"))
    if session.typing is not None:
        parts.append(Text(f"{session.prompt}: ", "bold") + Text(session.typing) + Text("▏", "blink"))
        parts.append(Text("enter takes it, escape does not", "dim"))
    elif session.shows_keys:
        parts.append(_key_table(session))
    return Group(*parts)


def topic_table(status: RecorderStatus) -> Table:
    """One row per topic: its rate, and what has been recorded of it."""
    table = Table("topic", "type", "Hz", "messages", "MB", "drops", expand=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for topic in sorted(status.topics, key=lambda topic: (topic.nominal_hz == 0.0, topic.name)):
        table.add_row(
            topic.name,
            Text(topic.type.replace("/msg/", "/") or "nobody publishes", "dim" if topic.type else "bold red"),
            _rate(topic),
            str(topic.messages),
            f"{topic.bytes / 1e6:.1f}",
            Text(str(topic.drops), "bold red" if topic.drops else ""),
        )
    return table


def _head(session: OperatorSession, status: RecorderStatus | None) -> Panel:
    table = Table.grid(padding=(0, 2))
    if status is None:
        table.add_row("state", Text("waits for recorder_node", "yellow"))
    else:
        is_recording = status.state == RecorderStatus.RECORDING
        state = Text("● RECORDING", "bold red") if is_recording else Text("ready", "green")
        if is_recording:
            state += Text(f"  {status.seconds:.1f} s", "bold")
        table.add_row("state", state)
        table.add_row("episode", status.path or "none yet")
        if status.sub_step:
            table.add_row("sub-step", Text(status.sub_step, "bold"))
        if session.next_sub_step < len(session.sub_steps):
            following = session.sub_steps[session.next_sub_step]
            table.add_row("next", Text(f"{session.next_sub_step + 1}. {following}", "dim"))
        if status.last_outcome and not is_recording:
            table.add_row("last", Text(status.last_outcome, _OUTCOME_STYLES.get(status.last_outcome, "")))
        table.add_row("disk", f"{status.disk_free / 1e9:.1f} GB left")
    table.add_row("instruction", Text(session.instruction or "none yet", "bold cyan"))
    counts = [outcome for _, outcome in session.finished]
    if counts:
        names = dict.fromkeys(counts)
        table.add_row("done", ", ".join(f"{counts.count(name)} {name}" for name in names))
    return Panel(table, title="dexvla record", expand=False)


def _rate(topic: TopicStatistics) -> Text:
    if not topic.nominal_hz:
        return Text(f"{topic.rate_hz:.1f}")
    slow = topic.rate_hz < _SLOW * topic.nominal_hz
    return Text(f"{topic.rate_hz:.1f} / {topic.nominal_hz:g}", "bold red" if slow else "green")


def _key_table(session: OperatorSession) -> Table:
    table = Table.grid(padding=(0, 2))
    for action, meaning in ACTIONS.items():
        keys = " ".join(key for key, name in session.keys.items() if name == action)
        table.add_row(Text(keys, "bold"), meaning)
    if session.sub_steps:
        numbers = Text(f"1 ... {min(9, len(session.sub_steps))}", "bold")
        table.add_row(numbers, "that sub-step of the list begins now")
    return table
