"""What colcon, rosdep and pip read of the packages agrees with the code. Nothing is built."""

import ast
import sys
from distutils.core import run_setup
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("dexvla_model", "dexvla_msgs", "dexvla_ros", "dexvla_sim")
PYTHON_PACKAGES = ("dexvla_model", "dexvla_ros", "dexvla_sim")
SHARED_FOLDERS = ("checkpoints", "config", "launch", "urdf")

# Import name -> rosdep key, for what apt provides under another name. A ROS package's key is its import name.
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "h5py": "python3-h5py",
    "numpy": "python3-numpy",
    "psutil": "python3-psutil",
    "rich": "python3-rich",
    "scipy": "python3-scipy",
    "serial": "python3-serial",
    "typer": "python3-typer",
    "yaml": "python3-yaml",
}
# Import name -> PyPI name, for what rosdep does not have, or only unpinned from pip, or in apt much too old.
FROM_PIP_ONLY = {
    name: name
    for name in (
        "accelerate",
        "av",
        "can",
        "daqp",
        "diffusers",
        "dynamixel_sdk",
        "glfw",
        "lz4",
        "mcap",
        "mujoco",
        "pyarrow",
        "pymodbus",
        "rosbags",
        "ruckig",
        "safetensors",
        "tokenizers",
        "torch",
        "transformers",
        "zstandard",
    )
}
PYPI_NAMES = FROM_PIP_ONLY | {name: name for name in (*ROSDEP_KEYS, "xacro")}
PYPI_NAMES |= {"PIL": "pillow", "can": "python-can", "cv2": "opencv-python-headless"}
PYPI_NAMES |= {"serial": "pyserial", "yaml": "pyyaml"}


def imports_of(package: str) -> set[str]:
    """Top-level names, outside the standard library, that the package's code and its launch files import."""
    files = list((REPOSITORY / "src" / package / package).rglob("*.py"))
    if package == "dexvla_ros":
        files += (REPOSITORY / "launch").rglob("*.py")
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {package}


def manifest(package: str):
    return parse_package(str(REPOSITORY / "src" / package / "package.xml"))


@pytest.fixture
def setup_of(monkeypatch):
    """Function from a package's name to the distribution that its setup.py describes."""

    def read(package: str):
        monkeypatch.chdir(REPOSITORY / "src" / package)
        return run_setup("setup.py", stop_after="init")

    return read


@pytest.mark.parametrize("package", PACKAGES)
def test_package_xml_is_valid(package):
    found = manifest(package)
    found.validate()
    assert found.name == package
    assert found.package_format == 3
    assert found.licenses == ["Apache-2.0"]


def test_all_packages_carry_one_version():
    assert len({manifest(package).version for package in PACKAGES}) == 1


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_setup_py_agrees_with_package_xml(package, setup_of):
    setup, xml = setup_of(package), manifest(package)
    assert (setup.get_name(), setup.get_version()) == (xml.name, xml.version)
    assert setup.get_license() == xml.licenses[0]


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_package_xml_covers_the_imports(package):
    declared = {dependency.name for dependency in manifest(package).exec_depends}
    needed = {ROSDEP_KEYS.get(name, name) for name in imports_of(package) if name not in FROM_PIP_ONLY}
    missing = needed - declared
    assert not missing, f"src/{package}/package.xml lacks an exec_depend on {sorted(missing)}"


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_setup_py_covers_the_imports_that_pip_provides(package, setup_of):
    declared = {canonicalize_name(name) for name in setup_of(package).install_requires}
    imported = imports_of(package)
    needed = {canonicalize_name(PYPI_NAMES[name]) for name in imported if name in PYPI_NAMES}
    needed |= {canonicalize_name(name) for name in imported if name in PACKAGES}
    missing = needed - declared
    assert not missing, f"src/{package}/setup.py lacks {sorted(missing)} in install_requires"


def test_interface_package_declares_what_its_definitions_use():
    xml = manifest("dexvla_msgs")
    to_build = {entry.name for entry in xml.build_depends}
    to_run = {entry.name for entry in xml.exec_depends}
    used = set()
    for file in (REPOSITORY / "src" / "dexvla_msgs").glob("[ams]*/*.*"):
        if file.suffix in (".msg", ".srv", ".action"):
            lines = (line.partition("#")[0] for line in file.read_text().splitlines())
            used |= {line.partition("/")[0] for line in lines if "/" in line}
    assert used <= to_build & to_run


def test_imports_point_downwards_only():
    model, sim = imports_of("dexvla_model"), imports_of("dexvla_sim")
    ros = {"dexvla_msgs", "dexvla_ros", "launch", "launch_ros", "rclpy"}
    ros |= {name for name in model | sim if name.endswith("_msgs")}
    assert not model & (ros | {"dexvla_sim", "mujoco"}), "dexvla_model needs neither ROS nor MuJoCo"
    assert not sim & ros, "dexvla_sim needs no ROS"


def test_entry_points_name_functions_that_exist(setup_of):
    for line in setup_of("dexvla_ros").entry_points["console_scripts"]:
        module, _, function = line.partition("=")[2].strip().partition(":")
        file = REPOSITORY.joinpath("src", "dexvla_ros", *module.split(".")).with_suffix(".py")
        assert file.is_file(), f"{line}: no {file.relative_to(REPOSITORY)}"
        statements = ast.parse(file.read_text()).body
        defined = {statement.name for statement in statements if isinstance(statement, ast.FunctionDef)}
        assert function in defined, f"{line}: {file.relative_to(REPOSITORY)} defines no {function}()"


def test_shared_folders_are_installed_whole_and_keep_their_structure(setup_of):
    installed = {
        f"{target}/{Path(file).name}"
        for target, files in setup_of("dexvla_ros").data_files
        for file in files
    }
    for folder in SHARED_FOLDERS:
        for file in (REPOSITORY / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"share/dexvla_ros/{file.relative_to(REPOSITORY)}" in installed


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_python_packages_are_found_by_the_ament_index(package, setup_of):
    data_files = setup_of(package).data_files
    assert ("share/ament_index/resource_index/packages", [f"resource/{package}"]) in data_files
    assert (REPOSITORY / "src" / package / "resource" / package).is_file()
