"""Every launch file: read without the launch package, and run for real where it is importable."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from dexvla_model.resources import find_resource
from dexvla_ros.robot_bringup import BringupOptions, robot_graph

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
NAMES = [file.name.removesuffix(".launch.py") for file in FILES]
# What stands in the files that other packages ship.
SHARES = {
    "controller_manager": (),
    "controller_types": (),
    "ur_client_library": ("resources/external_control.urscript",),
    "ur_robot_driver": (
        "launch/ur_control.launch.py",
        "config/ur_controllers.yaml",
        "resources/rtde_input_recipe.txt",
        "resources/rtde_output_recipe.txt",
    ),
    "franka_bringup": ("launch/franka.launch.py", "config/controllers.yaml"),
    "robot_state_publisher": (),
}
PLUGINS = (
    "forward_command_controller",
    "franka_hardware",
    "hardware_interface",
    "joint_state_broadcaster",
    "joint_trajectory_controller",
    "parallel_gripper_action_controller",
    "robotiq_driver",
    "topic_based_ros2_control",
)


def arguments_of(file: Path) -> dict[str, tuple[str, str]]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file.name} has no ARGUMENTS")


@pytest.fixture
def ros(tmp_path, monkeypatch):
    """An installed ROS, as far as files go."""
    for package in (*SHARES, *PLUGINS):
        marker = tmp_path / "share/ament_index/resource_index/packages" / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for name in SHARES.get(package, ()):
            path = tmp_path / "share" / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("/**:\n  controller_manager:\n    ros__parameters: {update_rate: 1}\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path


def test_there_is_a_file_for_everything_that_is_started():
    assert {"bringup", "description", "eval", "record", "sim", "teleop"} == set(NAMES)


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_argument_is_described_and_read(file):
    tree = ast.parse(file.read_text())
    arguments = arguments_of(file)
    assert arguments and ast.get_docstring(tree)
    for name, (default, description) in arguments.items():
        assert isinstance(default, str)
        assert len(description) > 10 and description.endswith("."), name
    # By name or all together.
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    whole = "**values" in file.read_text()
    assert whole or set(arguments) <= texts


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_everything_that_is_imported_from_this_package_exists(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("dexvla_ros"):
            source = (
                REPOSITORY.joinpath("src/dexvla_ros", *node.module.split(".")).with_suffix(".py").read_text()
            )
            defined = {entry.name for entry in ast.parse(source).body if hasattr(entry, "name")}
            constants = [entry for entry in ast.parse(source).body if isinstance(entry, ast.Assign)]
            defined |= {
                target.id for entry in constants for target in entry.targets if isinstance(target, ast.Name)
            }
            assert {alias.name for alias in node.names} <= defined, node.module


@pytest.mark.parametrize("name", NAMES)
def test_every_file_declares_its_arguments_and_one_action(name, read_launch_file):
    module, made = read_launch_file(name)
    *declared, action = module.generate_launch_description().args[0]
    assert [entry.args[0] for entry in declared] == list(module.ARGUMENTS)
    assert action.kwargs["function"].__module__ == module.__name__


def bringup(read_launch_file, **given):
    module, made = read_launch_file("bringup")
    values = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    module.start_robot({**values, **given})
    return made


def test_bringup_in_simulation_needs_no_ros_package(read_launch_file, monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    made = bringup(read_launch_file, checkpoint="scripted", dashboard="true")
    graph = robot_graph(BringupOptions("ur5e", policy="scripted", task="pick_place", dashboard=True))
    assert [node["name"] for node in made["LifecycleNode"]] == [process.name for process in graph.processes]
    assert not made["Node"] and not made["IncludeLaunchDescription"]


def test_mock_hardware_gets_description_manager_and_controllers(read_launch_file, ros):
    made = bringup(read_launch_file, hardware="mock", checkpoint="none")
    publisher, manager, active, inactive = made["Node"]
    urdf = publisher["parameters"][0]["robot_description"]
    assert urdf.kwargs == {"value_type": str} and "mock_components/GenericSystem" in urdf.args[0]
    assert manager["executable"] == "ros2_control_node"
    assert manager["parameters"] == [str(find_resource("config/controllers/ur5e.yaml"))]
    assert ("~/robot_description", "/robot_description") in manager["remappings"]
    assert active["arguments"][:3] == [
        "joint_state_broadcaster",
        "joint_trajectory_controller",
        "gripper_controller",
    ]
    assert "--inactive" in inactive["arguments"] and "forward_position_controller" in inactive["arguments"]
    assert [node["name"] for node in made["LifecycleNode"]] == ["motion_node"]


def test_a_real_ur_is_started_by_its_vendor_with_our_description(read_launch_file, ros):
    made = bringup(
        read_launch_file,
        robot="ur5e_inspire",
        hardware="real",
        robot_ip="10.0.0.2",
        checkpoint="none",
        ports="inspire_hand=/dev/ttyUSB3",
        vendor_arguments="headless_mode=true",
    )
    (include,) = made["IncludeLaunchDescription"]
    given = dict(include["launch_arguments"])
    assert (given["robot_ip"], given["headless_mode"]) == ("10.0.0.2", "true")
    assert given["initial_joint_controller"] == "joint_trajectory_controller"
    assert Path(given["description_launchfile"]) == REPOSITORY / "launch/description.launch.py"
    # The vendor's file hands robot and hardware on to ours by their names.
    assert {"robot", "hardware"} <= set(given) & set(arguments_of(Path(given["description_launchfile"])))
    joined = Path(given["controllers_file"]).read_text()
    assert joined.index("update_rate: 1}") < joined.index("interpolate_from_desired_state: true")
    (active, _) = made["Node"]
    assert active["arguments"][0] == "hand_controller"
    hand, motion = made["LifecycleNode"]
    assert hand["executable"] == "inspire_node" and hand["parameters"][1]["port"] == "/dev/ttyUSB3"
    assert hand["parameters"][1]["config"].endswith("inspire.yaml")


def test_a_real_franka_hand_is_bridged_and_its_arm_controller_is_loaded(read_launch_file, ros):
    made = bringup(read_launch_file, robot="fr3", hardware="real", robot_ip="10.0.0.2", checkpoint="none")
    (include,) = made["IncludeLaunchDescription"]
    given = dict(include["launch_arguments"])
    assert (given["robot_type"], given["load_gripper"], given["joint_state_rate"]) == ("fr3", "true", "100")
    assert "effort" in Path(given["controllers_yaml"]).read_text()
    (active,) = made["Node"]
    assert active["arguments"][0] == "fr3_arm_controller"
    assert "gripper_controller" not in active["arguments"]
    assert [node["name"] for node in made["LifecycleNode"]] == ["gripper_action_node", "motion_node"]


def test_devices_that_only_our_drivers_speak_to_stand_behind_our_own_manager(read_launch_file, ros):
    made = bringup(read_launch_file, robot="agilex_dual", hardware="real", checkpoint="none")
    assert not made["IncludeLaunchDescription"]
    assert [node["executable"] for node in made["Node"]][:2] == ["robot_state_publisher", "ros2_control_node"]
    assert [node["name"] for node in made["LifecycleNode"]] == [
        "piper_left_node",
        "piper_right_node",
        "motion_node",
    ]


def test_real_cameras_come_on_the_topics_of_the_robot_file(read_launch_file, ros):
    for kind, package in (("realsense", "realsense2_camera"), ("usb", "usb_cam")):
        (ros / "share/ament_index/resource_index/packages" / package).touch()
        made = bringup(
            read_launch_file,
            hardware="mock",
            checkpoint="none",
            cameras=kind,
            camera_devices="scene=1234,wrist=/dev/video2",
        )
        cameras = [node for node in made["Node"] if node["package"] == package]
        targets = {target for node in cameras for _, target in node["remappings"]}
        assert {"cameras/scene/image_raw", "cameras/wrist/image_raw", "cameras/wrist/camera_info"} <= targets


def test_the_evaluation_is_the_demo_in_that_graph(read_launch_file):
    module, made = read_launch_file("eval")
    values = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    module.start_evaluation({**values, "checkpoint": "scripted", "episodes": "3"})
    (process,) = made["ExecuteProcess"]
    command = process["cmd"]
    assert command[:4] == [sys.executable, "-m", "dexvla_ros.cli.main", "demo"]
    assert {"--attach", "--json"} <= set(command) and command[command.index("--episodes") + 1] == "3"
    assert len(made["LifecycleNode"]) == 4 and made["Shutdown"]


@pytest.mark.parametrize("name", NAMES)
def test_the_launch_package_reads_it(name):
    pytest.importorskip("launch.actions")
    launch = importlib.import_module("launch")
    spec = importlib.util.spec_from_file_location(f"{name}_launch", find_resource(f"launch/{name}.launch.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    context = launch.LaunchContext()
    for entity in description.entities[:-1]:
        entity.execute(context)
    if name in ("sim", "eval", "bringup", "description"):
        assert description.entities[-1].execute(context)


def test_no_launch_file_names_a_node_that_the_package_does_not_install(read_launch_file, ros):
    installed = (REPOSITORY / "src/dexvla_ros/setup.py").read_text()
    robots = [file.stem for file in sorted((REPOSITORY / "config/robots").glob("*.yaml"))]
    parameters = yaml.safe_load(find_resource("config/nodes.yaml").read_text())
    for robot in robots:
        for hardware in ("sim", "real"):
            graph = robot_graph(BringupOptions(robot, hardware, "10.0.0.2", "none", "", dashboard=True))
            for process in graph.processes:
                assert f'"{process.executable} = ' in installed, process.executable
                assert importlib.util.find_spec(process.module), process.module
                assert f"/**/{process.executable}" in parameters, process.executable
