"""Processes are started, watched and ended together; none is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from dexvla_ros.process_group import ProcessGroup

PATIENCE_S = 30.0
# Ends at the first interrupt, as a node does.
OBEDIENT = (
    "import time\nprint('ready', flush=True)\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    pass"
)
# Ignores everything that can be ignored.
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(600)
"""


@pytest.fixture
def lines():
    return []


@pytest.fixture
def group(tmp_path, lines):
    group = ProcessGroup(tmp_path, lambda name, line: lines.append((name, line)))
    yield group
    group.stop()


def wait_for(condition) -> bool:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(group, name, program, lines) -> int:
    pid = group.start(name, [sys.executable, "-c", program])
    assert wait_for(lambda: (name, "ready") in lines)
    return pid


def test_output_is_passed_on_line_by_line_and_kept_in_a_file(group, lines):
    group.start("talker", [sys.executable, "-c", "print('one'); print('two')"])
    assert wait_for(lambda: len(lines) == 2)
    assert lines == [("talker", "one"), ("talker", "two")]
    assert group.log("talker").read_text() == "one\ntwo\n"


def test_living_processes_are_no_deaths(group, lines):
    start(group, "a", OBEDIENT, lines)
    assert group.death() is None


def test_a_death_names_the_process_and_its_last_error(group, lines):
    start(group, "good", OBEDIENT, lines)
    program = "print('[ERROR] [1.0] [bad]: no camera'); print('bye'); raise SystemExit(4)"
    group.start("bad", [sys.executable, "-c", program])
    assert wait_for(lambda: group.death() is not None)
    death = group.death()
    assert (death.name, death.exit_code) == ("bad", 4)
    assert death.reason == "ended with exit code 4: no camera"


def test_a_death_by_an_exception_says_which(group):
    group.start("bad", [sys.executable, "-c", "raise RuntimeError('out of paper')"])
    assert wait_for(lambda: group.death() is not None)
    assert group.death().reason == "ended with exit code 1: RuntimeError: out of paper"


def test_a_death_by_a_signal_is_named(group, lines):
    pid = start(group, "victim", OBEDIENT, lines)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: group.death() is not None)
    assert group.death().reason == "was killed by SIGKILL"


def test_stopping_ends_the_obedient_by_an_interrupt(group, lines):
    pids = [start(group, name, OBEDIENT, lines) for name in ("a", "b", "c")]
    group.stop()
    assert not any(is_running(pid) for pid in pids)
    assert group.death() is None


@pytest.fixture
def impatient(monkeypatch):
    """Shortens the waits between the signals."""
    ladder = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.1), (signal.SIGKILL, PATIENCE_S))
    monkeypatch.setattr("dexvla_ros.process_group._LADDER", ladder)


def test_stopping_kills_the_stubborn(impatient, group, lines):
    pid = start(group, "stubborn", STUBBORN, lines)
    group.stop()
    assert not is_running(pid)
    assert group.any_killed


def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path):
    imports = "import time\nfrom dexvla_ros.lifeline import shut_down_with_parent\n"
    child = imports + "shut_down_with_parent()\ntime.sleep(600)"
    program = f"""
        import sys, time
        from pathlib import Path
        from dexvla_ros.process_group import ProcessGroup
        group = ProcessGroup(Path({str(tmp_path)!r}))
        print(group.start("child", [sys.executable, "-c", {child!r}]), flush=True)
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
    assert wait_for(lambda: not is_running(pid))


def test_an_interrupt_while_stopping_does_not_cut_it_short(impatient, group, lines):
    pid = start(group, "stubborn", STUBBORN, lines)
    previous = signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        group.stop()
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not is_running(pid)
