"""The tests' own configuration does what pytest.ini and tests/conftest.py say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
EXAMPLE = """
import pytest

@pytest.mark.ros
@pytest.mark.parametrize("graph", range(4))
def test_graph(graph):
    pass

def test_plain():
    pass

@pytest.mark.slow
def test_slow():
    raise AssertionError("slow tests run only when asked for")
"""


def test_tests_that_start_nodes_share_a_worker_and_slow_ones_are_left_out(tmp_path):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    shutil.copy(TESTS.parent / "pytest.ini", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_example.py").write_text(EXAMPLE)
    command = [sys.executable, "-m", "pytest", "--verbose", "--numprocesses", "2", "--dist", "loadgroup"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "5 passed" in result.stdout, result.stdout
    assert len(set(re.findall(r"\[(gw\d)\].*test_graph", result.stdout))) == 1, result.stdout
