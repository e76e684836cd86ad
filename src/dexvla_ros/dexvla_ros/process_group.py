"""Child processes that are started, watched and ended together; none is ever left. No ROS."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dexvla_ros.lifeline import Lifeline

# How long each signal of the ladder may take.
_LADDER = ((signal.SIGINT, 4.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))
_TAIL_LINES = 50
# Time that the last lines of a dead process take through its pipe.
_DRAIN_S = 1.0
_ERROR_MARKS = ("[ERROR]", "[FATAL]", "Error:", "error:", "Exception:")


@dataclass(frozen=True)
class ProcessDeath:
    """A process that ended without being told to: its name and how it ended, in words."""

    name: str
    reason: str
    exit_code: int


@dataclass
class _Child:
    name: str
    process: subprocess.Popen
    lifeline: Lifeline
    log: Path
    may_end: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))
    reader: threading.Thread | None = None


class ProcessGroup:
    """Starts processes with their output in one log file each.

    A child gets a lifeline, so that it also ends when this process is killed outright.

    Args:
        log_folder: where NAME.log goes.
        on_line: called with name and line for every line of output, from a thread.
    """

    def __init__(
        self, log_folder: Path, on_line: Callable[[str, str], None] = lambda name, line: None
    ) -> None:
        self._log_folder = log_folder
        self._on_line = on_line
        self._children: dict[str, _Child] = {}
        self._stopped = False

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        may_end: bool = False,
    ) -> int:
        """Start a process in a session of its own, out of reach of the terminal's Ctrl-C; its process id.

        Args:
            may_end: it ends by itself when its work is done; exit code 0 is no death.
        """
        self._log_folder.mkdir(parents=True, exist_ok=True)
        lifeline = Lifeline()
        process = subprocess.Popen(
            list(command),
            env={**os.environ, **(environment or {}), **lifeline.environment},
            pass_fds=(lifeline.child_fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child = _Child(name, process, lifeline, self._log_folder / f"{name}.log", may_end)
        self._children[name] = child
        lifeline.release_child_end()
        child.reader = threading.Thread(
            target=self._read, args=(child,), name=f"output of {name}", daemon=True
        )
        child.reader.start()
        return process.pid

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._children)

    def pid(self, name: str) -> int:
        """Process id of a child."""
        return self._children[name].process.pid

    def log(self, name: str) -> Path:
        """The file with everything that a child has printed."""
        return self._children[name].log

    def death(self) -> ProcessDeath | None:
        """The first child found dead, if any has ended without being told to."""
        if self._stopped:
            return None
        for child in self._children.values():
            code = child.process.poll()
            if code is not None and not (child.may_end and code == 0):
                child.reader.join(_DRAIN_S)
                return ProcessDeath(child.name, f"{_ending(code)}{_explanation(child)}", code)
        return None

    def last_error(self, name: str) -> str:
        """The last line of a child's output that looks like an error; empty if none does."""
        return _last_error(self._children[name])

    def last_line(self, name: str) -> str:
        """The last line of a child's output."""
        tail = self._children[name].tail
        return tail[-1] if tail else ""

    @property
    def any_killed(self) -> bool:
        """Whether a child was killed outright, by somebody or by `stop`."""
        return any(child.process.returncode == -signal.SIGKILL for child in self._children.values())

    def stop(self) -> None:
        """End every child: interrupt, terminate, kill, each after a wait; return when all are reaped."""
        self._stopped = True
        # A second Ctrl-C must not cut this short.
        restore = _ignore_interrupts()
        try:
            for number, patience_s in _LADDER:
                running = [child for child in self._children.values() if child.process.poll() is None]
                if not running:
                    break
                for child in running:
                    child.process.send_signal(number)
                _wait_for([child.process for child in running], patience_s)
            for child in self._children.values():
                child.lifeline.cut()
                child.reader.join(_DRAIN_S)
        finally:
            restore()

    def _read(self, child: _Child) -> None:
        with child.process.stdout, child.log.open("w", encoding="utf-8") as log:
            for raw in child.process.stdout:
                line = raw.decode("utf-8", errors="replace").rstrip("\n")
                child.tail.append(line)
                print(line, file=log, flush=True)
                # What a process says while it is being ended concerns nobody but the log.
                if not self._stopped:
                    self._on_line(child.name, line)


def _wait_for(processes: Sequence[subprocess.Popen], patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue


def _ignore_interrupts() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGINT, previous)


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _explanation(child: _Child) -> str:
    error = _last_error(child)
    if not error and child.tail and child.process.returncode > 0:
        error = child.tail[-1]
    return f": {error}" if error else ""


def _last_error(child: _Child) -> str:
    for line in reversed(child.tail):
        if any(mark in line for mark in _ERROR_MARKS):
            return _without_log_prefix(line)
    return ""


def _without_log_prefix(line: str) -> str:
    """`[ERROR] [stamp] [node]: text` as `text`."""
    if line.startswith("[") and "]: " in line:
        return line.split("]: ", 1)[1]
    return line
