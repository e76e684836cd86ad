"""The lock pins everything, exactly, and holds what the packages ask for."""

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
EXACT_PIN = re.compile(r"[a-z0-9-]+==[0-9][A-Za-z0-9.]*")


def requirements(file_name: str) -> list[str]:
    """The requirements of a file, without comments."""
    lines = (line.partition("#")[0].strip() for line in (REPOSITORY / file_name).read_text().splitlines())
    return [line for line in lines if line]


def versions(file_name: str) -> dict[str, str]:
    """Pinned version of each package of a file, by canonical name."""
    pins = (Requirement(line) for line in requirements(file_name))
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_every_requirement_is_pinned_exactly_and_once():
    lines = requirements("requirements.txt") + requirements("requirements-torch.txt")
    assert [line for line in lines if not EXACT_PIN.fullmatch(line)] == []
    names = [line.partition("==")[0] for line in lines]
    assert sorted(set(names)) == sorted(names)


def test_lock_is_that_of_requirements_in():
    direct, locked = versions("requirements.in"), versions("requirements.txt")
    assert {name: locked.get(name) for name in direct} == direct, "run scripts/lock_requirements.py"


def test_lock_holds_everything_that_the_locked_packages_need():
    locked = versions("requirements.txt") | versions("requirements-torch.txt")
    missing = set()
    for name in locked:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # Provided by ROS proper rather than by a wheel.
        for need in map(Requirement, needs):
            # What only the CUDA build of torch needs comes with that build.
            if name != "torch" and (need.marker is None or need.marker.evaluate({"extra": ""})):
                missing |= {canonicalize_name(need.name)} - set(locked)
    assert not missing, "run scripts/lock_requirements.py"


def test_torch_is_left_to_its_own_index():
    locked = versions("requirements.txt")
    assert "torch" in versions("requirements-torch.txt")
    assert not [name for name in locked if name.startswith(("torch", "nvidia-", "cuda-", "triton"))]


def test_lock_holds_what_the_packages_ask_for():
    provided = set(versions("requirements.in")) | set(versions("requirements-torch.txt"))
    for package in ("dexvla_model", "dexvla_ros", "dexvla_sim"):
        setup = (REPOSITORY / "src" / package / "setup.py").read_text()
        asked = re.search(r"install_requires=\[(.*?)\]", setup, re.S)
        names = {canonicalize_name(name) for name in re.findall(r'"(.+?)"', asked.group(1))}
        missing = {name for name in names - provided if not name.startswith("dexvla-")}
        assert not missing, f"requirements.in lacks what src/{package}/setup.py asks for: {sorted(missing)}"
