"""The scripts behind `make setup`, without installing anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"


def run(script: str, *arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [SCRIPTS / script, *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_python_is_the_one_that_was_named():
    assert run("find_python.sh", PYTHON=sys.executable).stdout.strip() == sys.executable


@pytest.mark.parametrize("python", ["/nowhere/python3.11", "/bin/true", "/bin/false"])
def test_unsuitable_python_is_refused_in_one_sentence(python):
    result = run("find_python.sh", PYTHON=python)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert python in result.stderr


def test_machine_without_python_is_told_what_to_install(tmp_path):
    command = ["/bin/sh", SCRIPTS / "find_python.sh"]
    result = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True)
    assert result.returncode == 2
    assert result.stderr.decode().count("\n") == 1
    assert b"apt-get install python3" in result.stderr


def test_step_that_works_is_quiet(tmp_path):
    result = run("step.sh", tmp_path / "a.log", "Doing", "sh", "-c", "echo noise")
    assert result.returncode == 0
    assert result.stdout.startswith("Doing ... ")
    assert "noise" not in result.stdout
    assert (tmp_path / "a.log").read_text() == "noise\n"


def test_step_that_fails_shows_its_log_and_keeps_its_exit_code(tmp_path):
    result = run("step.sh", tmp_path / "a.log", "Doing", "sh", "-c", "echo reason; exit 3")
    assert result.returncode == 3
    assert "failed" in result.stdout
    assert "reason" in result.stderr


@pytest.fixture
def machine_without_rendering(tmp_path):
    """Function from whether we are root to what asking for rendering says, and the apt-get commands run."""

    def ask(is_root: bool) -> tuple[subprocess.CompletedProcess, str]:
        log = tmp_path / "commands"
        log.touch()
        for name, body in {
            "python": "exit 1",
            "id": f"echo {0 if is_root else 1000}",
            "sudo": "exit 1",
            "apt-get": f'echo "$@" >>{log}',
        }.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        result = run("install_system_libraries.sh", "rendering", tmp_path / "python", PATH=path)
        return result, log.read_text()

    return ask


def test_user_who_may_not_install_is_told_what_to_install(machine_without_rendering):
    result, commands = machine_without_rendering(is_root=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "sudo apt-get install libegl1 libgl1 libgl1-mesa-dri" in result.stderr
    assert commands == ""


def test_missing_system_libraries_are_installed_by_root(machine_without_rendering):
    result, commands = machine_without_rendering(is_root=True)
    assert commands.endswith("install libegl1 libgl1 libgl1-mesa-dri\n")
    assert result.returncode == 2, "this machine still cannot render"
    assert "cannot render" in result.stderr


def test_machine_that_renders_is_left_alone():
    result = run("install_system_libraries.sh", "rendering", "/bin/true", PATH="/nowhere")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture
def install_torch(tmp_path):
    """Function from the index asked for, and whether PyTorch's answers, to the pip commands that run."""
    log = tmp_path / "commands"
    python = tmp_path / "python"

    def install(*index: str, cpu_index_answers: bool = False) -> list[str]:
        python.write_text(
            f'#!/bin/sh\n[ "$1" = -c ] && exit {int(not cpu_index_answers)}\necho "$@" >>{log}\n'
        )
        python.chmod(0o755)
        log.write_text("")
        assert run("install_torch.sh", python, tmp_path / "record", *index).returncode == 0
        return log.read_text().splitlines()

    return install


def test_torch_is_the_cpu_build_where_nothing_is_asked_for(install_torch):
    assert install_torch(cpu_index_answers=True) == [
        f"-m pip install --index-url {CPU_INDEX} -r requirements-torch.txt"
    ]


def test_torch_is_from_pips_own_index_where_pytorchs_does_not_answer(install_torch):
    assert install_torch(cpu_index_answers=False) == ["-m pip install -r requirements-torch.txt"]


def test_index_of_torch_is_remembered_and_a_change_replaces_the_build(install_torch):
    from_cuda_index = f"-m pip install --index-url {CUDA_INDEX} -r requirements-torch.txt"
    assert install_torch(CUDA_INDEX) == ["-m pip uninstall -q -y torch", from_cuda_index]
    assert install_torch(cpu_index_answers=True) == [from_cuda_index]
    assert install_torch(CPU_INDEX)[0] == "-m pip uninstall -q -y torch"
