"""Keys out of a terminal's bytes, and Joy out of the kernel's joystick events."""

import os
import struct
import subprocess
import sys

import pytest

from dexvla_model.errors import UserError
from dexvla_ros.teleop.joystick import Joystick
from dexvla_ros.teleop.terminal import Terminal, key_names


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("w", ["w"]),
        ("wwW", ["w", "w", "W"]),
        ("\r\n \t\x7f", ["enter", "enter", "space", "tab", "backspace"]),
        ("\x1b[A\x1b[Bw\x1bOC\x1b[D", ["up", "down", "w", "right", "left"]),
        ("\x1b", ["escape"]),
        ("\x1b[15~w\x1b[1;5A", ["w", "up"]),
        ("ä", ["ä"]),
        ("\x1b[", []),
    ],
)
def test_keys_have_names(text, keys):
    assert list(key_names(text)) == keys


def test_a_terminal_hands_keys_over_at_once_and_is_put_back():
    program = (
        "import sys, termios\n"
        "from dexvla_ros.teleop.terminal import Terminal\n"
        "before = termios.tcgetattr(0)\n"
        "with Terminal() as terminal:\n"
        "    print('ready', flush=True)\n"
        "    keys = []\n"
        "    while len(keys) < 3:\n"
        "        keys += terminal.read(5.0)\n"
        "print(keys, termios.tcgetattr(0) == before, flush=True)\n"
    )
    outer, inner = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=inner, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.write(outer, b"w")
        os.write(outer, b"\x1b[A ")
        assert process.stdout.readline() == "['w', 'up', 'space'] True\n"
    os.close(outer)
    os.close(inner)


def test_without_a_terminal_it_says_what_to_do(monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(UserError, match="standard input is none: run this in a terminal"):
            Terminal()


def event(kind, number, value):
    return struct.pack("IhBB", 0, value, kind, number)


@pytest.fixture
def pipe(tmp_path):
    """A named pipe in the place of /dev/input/js0, and the end to write to."""
    path = tmp_path / "js0"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    os.close(reader)
    yield path, writer
    try:
        os.close(writer)
    except OSError:
        pass


def test_events_of_the_kernel_become_axes_and_buttons_as_joy_node_has_them(pipe):
    path, writer = pipe
    with Joystick(path) as joystick:
        assert not joystick.read(0.0)
        os.write(writer, b"".join([event(0x82, n, 0) for n in range(3)] + [event(0x81, 1, 0)]))
        assert joystick.read(1.0)
        assert (joystick.axes, joystick.buttons) == ([0.0, 0.0, 0.0], [0, 0])
        os.write(writer, event(0x02, 1, -32767) + event(0x02, 2, -32768) + event(0x01, 0, 1))
        assert joystick.read(1.0)
        assert (joystick.axes, joystick.buttons) == ([0.0, 1.0, 1.0], [1, 0])


def test_a_gamepad_that_is_unplugged_says_so(pipe):
    path, writer = pipe
    with Joystick(path) as joystick:
        os.close(writer)
        with pytest.raises(EOFError, match="the gamepad is gone"):
            joystick.read(1.0)


def test_a_gamepad_that_is_not_there_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="--joystick .*js9: the gamepad cannot be opened .*joy_node"):
        Joystick(tmp_path / "js9")
