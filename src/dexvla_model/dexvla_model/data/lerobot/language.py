"""Sub-steps of an episode, and LeRobot's language columns that hold them.

LeRobot 0.6 stores what is said over an episode as rows of the column `language_persistent` (role, content,
style, timestamp, camera, tool_calls), the same list on every frame of the episode. A row is active from its
timestamp until the next row of its style. Sub-steps are the rows of style `subtask`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

SUBTASK_STYLE = "subtask"
_ROLE = "assistant"

_TEXTS = [
    pa.field("role", pa.string()),
    pa.field("content", pa.string()),
    pa.field("style", pa.string()),
]
_TAIL = [pa.field("camera", pa.string()), pa.field("tool_calls", pa.list_(pa.string()))]
PERSISTENT_TYPE = pa.list_(pa.struct([*_TEXTS, pa.field("timestamp", pa.float32()), *_TAIL]))
EVENTS_TYPE = pa.list_(pa.struct([*_TEXTS, *_TAIL]))
LANGUAGE_FEATURE = {"dtype": "language", "shape": [1], "names": None}


@dataclass(frozen=True)
class SubStepMark:
    """From `start_s` on, in s after the episode's first frame, the robot is doing what `text` says."""

    start_s: float
    text: str


def marks_of_texts(texts: Sequence[str], fps: float) -> list[SubStepMark]:
    """Marks of an episode that has one text per frame; frames without a text (empty) belong to no
    sub-step."""
    marks = []
    for index, text in enumerate(texts):
        if index == 0 or text != texts[index - 1]:
            marks.append(SubStepMark(index / fps, text))
    return marks if any(mark.text for mark in marks) else []


def texts_of_marks(marks: Iterable[SubStepMark], frames: int, fps: float) -> list[str]:
    """One text per frame; empty before the first mark. A mark between two frames belongs to the later one."""
    texts = [""] * frames
    for mark in sorted(marks, key=lambda mark: mark.start_s):
        first = first_frame(mark.start_s, fps)
        texts[first:] = [mark.text] * (frames - first if first < frames else 0)
    return texts


def first_frame(start_s: float, fps: float) -> int:
    """Index of the first frame at or after `start_s`, which float32 may have rounded."""
    return max(0, int(np.ceil(start_s * fps - 1e-3)))


def persistent_rows(marks: Iterable[SubStepMark], fps: float) -> list[dict[str, Any]]:
    """Rows of `language_persistent`, stamped with the timestamp of the frame at which each sub-step
    begins."""
    rows = []
    for mark in sorted(marks, key=lambda mark: mark.start_s):
        # An empty text ends a sub-step without beginning another; LeRobot needs a content, which may be
        # empty.
        timestamp = float(np.float32(first_frame(mark.start_s, fps) / fps))
        rows.append(
            {
                "role": _ROLE,
                "content": mark.text,
                "style": SUBTASK_STYLE,
                "timestamp": timestamp,
                "camera": None,
                "tool_calls": None,
            }
        )
    return rows


def marks_of_rows(rows: Iterable[dict[str, Any]] | None) -> list[SubStepMark]:
    """The sub-steps among the rows of a `language_persistent` cell; other styles are left out."""
    marks = [
        SubStepMark(float(row["timestamp"]), str(row["content"] or ""))
        for row in rows or ()
        if row.get("style") == SUBTASK_STYLE and row.get("timestamp") is not None
    ]
    return sorted(marks, key=lambda mark: mark.start_s)
