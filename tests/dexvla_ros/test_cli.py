"""The command line: help at once, and one sentence for every mistake."""

import os
import subprocess
import sys

import pytest


def dexvla(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, without a display."""
    clean = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "dexvla_ros.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, "COLUMNS": "120", **environment},
    )


def test_help_lists_every_subcommand_and_loads_nothing_heavy():
    program = (
        "import sys, dexvla_ros.cli.main as m\n"
        "try:\n    m.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('torch', 'mujoco', 'rclpy', 'transformers', 'scipy')\n"
        "print('heavy:', [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    for name in ("demo", "run", "sim", "dashboard", "demonstrate", "train", "eval"):
        assert f" {name} " in result.stdout
    assert "heavy: []" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--robot", "nope"], ["'nope'", "ur5e"]),
        (["demo", "--task", "nope", "--policy", "scripted"], ["'nope'", "pick_place"]),
        (["demo", "--policy", "/nowhere/checkpoint"], ["/nowhere/checkpoint", "scripted"]),
        (["demo", "--policy", "scripted", "--output", "/dev/null/x"], ["--output /dev/null/x"]),
        (["run", "--robot", "/nowhere/robot.yaml", "--policy", "scripted"], ["/nowhere/robot.yaml"]),
        (["sim", "--viewer"], ["DISPLAY"]),
        (["run", "--hardware", "real", "--policy", "none"], ["robot_ip is missing"]),
        (["run", "--sim", "--hardware", "mock"], ["--hardware mock exclude each other"]),
        (["run", "--policy", "scripted", "--cameras", "usb"], ["--cameras means something with --hardware"]),
        (["dashboard", "--robot", "nope"], ["'nope'", "ur5e"]),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr_and_exit_code_2(arguments, words):
    result = dexvla(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_robot_file_with_an_error_is_named_with_the_line(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("name: arm\n  cameras: [\n")
    result = dexvla("demo", "--robot", str(path), "--policy", "scripted")
    assert result.returncode == 2
    assert f"{path} line 2" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["demo", "--bogus"], ["demo", "--episodes", "0"], ["nonsense"]])
def test_a_wrong_option_is_explained_with_exit_code_2(arguments):
    result = dexvla(*arguments)
    assert result.returncode == 2
    assert "Error:" in result.stderr
    assert "Traceback" not in result.stderr
