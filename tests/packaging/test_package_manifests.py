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
    "moveit": "moveit_py",
    "matplotlib": "python3-matplotlib",
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
        "coal",
        "daqp",
        "diffusers",
        "dynamixel_sdk",
        "glfw",
        "lz4",
        "mcap",
        "mujoco",
        "ompl",
        "peft",
        "pinocchio",
        "pyarrow",
        "pymodbus",
        "rosbags",
        "ruckig",
        "safetensors",
        "tensorboardX",
        "tokenizers",
        "torch",
        "transformers",
        "zstandard",
    )
}
# Imported where somebody asks for it, and installed only then: import name -> extra of setup.py.
EXTRAS = {"lerobot": "lerobot", "ray": "ray"}
# MoveIt comes with ROS only: motion_node plans by itself where it is missing.
PYPI_NAMES = FROM_PIP_ONLY | {name: name for name in (*ROSDEP_KEYS, "xacro") if name != "moveit"}
PYPI_NAMES |= {"PIL": "pillow", "can": "python-can", "cv2": "opencv-python-headless"}
PYPI_NAMES |= {"pinocchio": "pin"}
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
    needed = {ROSDEP_KEYS.get(name, name) for name in imports_of(package) if name not in FROM_PIP_ONLY | EXTRAS}
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


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_what_is_optional_stands_in_an_extra_and_is_not_imported_at_once(package, setup_of):
    extras = setup_of(package).extras_require
    for name in imports_of(package) & EXTRAS.keys():
        assert name in extras[EXTRAS[name]], f"src/{package}/setup.py lacks {name} in extras_require"
    for file in (REPOSITORY / "src" / package / package).rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                assert not {alias.name.partition(".")[0] for alias in node.names} & EXTRAS.keys(), file
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.partition(".")[0] not in EXTRAS, file


def test_what_the_bringup_starts_is_declared_or_documented_as_the_user_s_to_install():
    from dexvla_ros.camera_drivers import OURS, camera_nodes
    from dexvla_ros.foreign import ForeignNode, PackageFile
    from dexvla_ros.robot_bringup import BringupOptions, robot_graph
    from dexvla_model.robot import load_robot

    declared = {dependency.name for dependency in manifest("dexvla_ros").exec_depends}
    documented = (REPOSITORY / "docs/bringup.md").read_text()
    # What comes with ros2_controllers, and with controller_manager.
    bundled = {"forward_command_controller", "joint_state_broadcaster", "joint_trajectory_controller"}
    bundled |= {"parallel_gripper_action_controller", "mock_components"}
    started = set()
    for file in (REPOSITORY / "config/robots").glob("*.yaml"):
        for hardware in ("sim", "mock", "real"):
            for item in robot_graph(BringupOptions(file.stem, hardware, "10.0.0.1", "none")).foreign:
                started.add(item.package)
                if isinstance(item, ForeignNode):
                    started |= {plugin.partition("/")[0] for plugin in item.plugins}
                else:
                    started |= {value.package for value in item.arguments.values() if isinstance(value, PackageFile)}
    robot = load_robot("ur5e")
    devices = {camera.role: "x" for camera in robot.cameras}
    for kind in ("realsense", "usb", OURS):
        started |= {node.package for node in camera_nodes(kind, robot, devices)[0]}
    assert {"ur_robot_driver", "franka_bringup", "controller_manager", "usb_cam"} <= started
    for package in started - bundled - declared:
        assert f"`{package}`" in documented, package


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
