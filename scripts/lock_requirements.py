"""Resolves requirements.in and requirements-torch.txt into requirements.txt, every package pinned.

Run it with the oldest supported Python (3.11), so that the pins suit the newer one too:
    .venv/bin/python scripts/lock_requirements.py
Pip's report is read rather than `pip freeze`, which lists metadata embedded in the ROS wheels under wrong
versions.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
DIRECT = REPOSITORY / "requirements.in"
TORCH = REPOSITORY / "requirements-torch.txt"
LOCK = REPOSITORY / "requirements.txt"
HEADER = """\
# Every package of .venv but torch, pinned: the lock of requirements.in, complete, to install with --no-deps.
# Do not edit: change requirements.in and run `.venv/bin/python scripts/lock_requirements.py`.
"""
# What only the CUDA build of torch brings: it comes from the same index as that build.
CUDA_PREFIXES = ("cuda-", "nvidia-", "triton")


def resolve() -> dict[str, dict]:
    """Metadata of every package that the two files need, by canonical name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
            + ["--report", report, "-r", DIRECT, "-r", TORCH],
            check=True,
        )
        installs = json.loads(report.read_text())["install"]
    return {canonicalize_name(entry["metadata"]["name"]): entry["metadata"] for entry in installs}


def parents_of(packages: dict[str, dict]) -> dict[str, list[str]]:
    """Which of `packages` ask for each package. Extras count as asked for: readers only see it."""
    parents: dict[str, list[str]] = {name: [] for name in packages}
    for name, metadata in packages.items():
        for line in metadata.get("requires_dist", []):
            child = canonicalize_name(Requirement(line).name)
            if child in packages and child != name and name not in parents[child]:
                parents[child].append(name)
    return parents


def lock_text(packages: dict[str, dict]) -> str:
    """The lock: the lines of requirements.in with their comments, then what they bring along."""
    torch = {canonicalize_name(Requirement(line).name) for line in requirement_lines(TORCH)}
    direct = {canonicalize_name(Requirement(line).name) for line in requirement_lines(DIRECT)}
    lines = [HEADER]
    sections = DIRECT.read_text().split("\n\n", 1)[1]
    for line in sections.splitlines():
        if line and not line.startswith("#"):
            name = canonicalize_name(Requirement(line).name)
            line = f"{name}=={packages[name]['version']}"
        lines.append(line)
    lines += ["", "# What these and torch bring along"]
    parents = parents_of(packages)
    for name in sorted(packages):
        if name not in direct | torch and not name.startswith(CUDA_PREFIXES):
            pin = f"{name}=={packages[name]['version']}"
            shown = sorted(parents[name])[:3] + (["..."] if len(parents[name]) > 3 else [])
            lines.append(f"{pin}  # for {', '.join(shown)}")
    return "\n".join(lines) + "\n"


def requirement_lines(path: Path) -> list[str]:
    """The requirements in a file, without comments and empty lines."""
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    LOCK.write_text(lock_text(resolve()))
