"""The container files: what they name exists, and their steps are scripts that run here as well."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
GPU = yaml.safe_load((DOCKER / "gpu.yaml").read_text())
TARGETS = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))


def instructions(name: str) -> list[list[str]]:
    return [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


def test_every_stage_builds_on_one_that_came_before_it():
    known = {"${ROS_IMAGE}"}
    for base, _, stage in instructions("FROM"):
        assert base in known
        known.add(stage)
    assert {"cpu", "cuda"} <= known


def test_every_copied_file_exists():
    sources = [source for *copied, _ in instructions("COPY") for source in copied]
    assert len(sources) > 8
    for source in sources:
        assert (REPOSITORY / source).exists(), source


def test_every_script_that_a_step_runs_was_copied_before_and_is_executable():
    copied, ran = set(), 0
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY "):
            copied |= set(line.split()[1:-1])
        elif line.startswith("RUN "):
            for script in re.findall(r"scripts/\w+\.sh", line):
                ran += 1
                assert script in copied or "." in copied
                assert os.access(REPOSITORY / script, os.X_OK)
    assert ran >= 6


@pytest.mark.parametrize("script", sorted([*REPOSITORY.glob("scripts/*.sh"), DOCKER / "entrypoint.sh"]), ids=lambda p: p.name)
def test_scripts_are_valid_shell(script):
    assert subprocess.run(["sh", "-n", script], capture_output=True).returncode == 0


def test_the_image_s_python_gets_every_requirement_but_ros(tmp_path):
    # A Python that only says what it is asked to do stands in for the image's.
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nwhile [ "$1" != -r ]; do shift; done\ncat "$2"\n')
    python.chmod(0o755)
    arguments = [REPOSITORY / "scripts/install_requirements.sh", python, REPOSITORY / "requirements.txt"]
    everything = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    without_ros = subprocess.run([*arguments, "--without-ros"], capture_output=True, text=True, check=True)
    left_out = set(everything) - set(without_ros.stdout.splitlines())
    assert left_out and all(line.startswith("ros-") for line in left_out)
    assert not any(line.startswith("ros-") for line in without_ros.stdout.splitlines())


def test_services_name_targets_commands_and_files_that_exist():
    assert {"sim", "robot", "train", "dashboard"} <= set(COMPOSE["services"])
    for name, service in COMPOSE["services"].items():
        assert re.sub(r"\$\{DEXVLA_TARGET:-(\w+)\}", r"\1", service["build"]["target"]) in TARGETS
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        entry = service["entrypoint"]
        assert entry[0] == "/opt/dexvla/docker/entrypoint.sh"
        assert service["network_mode"] == service["ipc"] == "host", name
        if entry[1] == "ros2":
            assert (REPOSITORY / "launch" / entry[4]).is_file(), entry[4]
        else:
            command = [Path(sys.executable).with_name("dexvla"), *entry[2:], "--help"]
            assert subprocess.run(command, capture_output=True).returncode == 0, entry
    assert set(GPU["services"]) <= set(COMPOSE["services"])


def test_the_robot_may_use_real_time_priorities_and_devices():
    robot = COMPOSE["services"]["robot"]
    assert robot["ulimits"]["rtprio"] == 99 and "SYS_NICE" in robot["cap_add"]
    assert any(rule.startswith("c 188:") for rule in robot["device_cgroup_rules"])


def workspace(folder: Path) -> dict[str, str]:
    """An installed ROS and a built workspace, each as one file, and the variables that name them."""
    (folder / "install").mkdir(parents=True)
    (folder / "install/setup.sh").write_text("export FROM_WORKSPACE=$FROM_ROS-and-more\n")
    (folder / "ros.sh").write_text('[ -z "$NOT_SET_ANYWHERE" ]\nexport FROM_ROS=ros\n')
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/hello").write_text('#!/bin/sh\necho "$FROM_WORKSPACE $*"\n')
    (folder / ".venv/bin/hello").chmod(0o755)
    return os.environ | {"WORKSPACE": str(folder), "ROS_SETUP": str(folder / "ros.sh")}


def enter(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess:
    return subprocess.run([DOCKER / "entrypoint.sh", *command], env=environment, capture_output=True, text=True)


def test_the_entry_point_runs_a_command_of_the_workspace(tmp_path):
    result = enter(workspace(tmp_path), "hello", "robot:=ur5e", "two words")
    assert result.stdout == "ros-and-more robot:=ur5e two words\n"


def test_the_entry_point_passes_the_exit_code_on(tmp_path):
    assert enter(workspace(tmp_path), "sh", "-c", "exit 7").returncode == 7


def test_an_image_that_was_not_built_whole_says_so(tmp_path):
    environment = workspace(tmp_path)
    shutil.rmtree(tmp_path / "install")
    result = enter(environment, "hello")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "install/setup.sh" in result.stderr


def test_a_container_without_real_time_priorities_is_refused_where_they_are_required(tmp_path):
    environment = workspace(tmp_path) | {"DEXVLA_REAL_TIME": "required"}
    (tmp_path / ".venv/bin/chrt").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / ".venv/bin/chrt").chmod(0o755)
    result = enter(environment, "hello")
    assert result.returncode == 2
    assert "rtprio" in result.stderr and result.stdout == ""


def test_what_was_made_beside_the_repository_stays_out_of_the_image():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {".venv", "data", "outputs", ".git"} <= set(ignored)
