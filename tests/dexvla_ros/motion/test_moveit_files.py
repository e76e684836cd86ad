"""The files in config/moveit are what the command writes from the robot file and the URDF."""

import shutil

import pytest
import yaml

from dexvla_model.robot import load_robot
from dexvla_model.robot.moveit import moveit_folder, read_srdf
from dexvla_model.streaming import StreamSettings
from dexvla_ros.motion.moveit_files import moveit_files
from dexvla_ros.motion.moveit_planner import moveit_parameters
from dexvla_ros.motion.planner import PlannerSettings

HANDS = StreamSettings().compliant_controllers
OTHERS = ("fr3", "agilex_piper", "agilex_dual", "ur5e_inspire", "fr3_leap", "inspire", "leap")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]


@pytest.mark.parametrize("name", ["ur5e", *SLOW])
def test_what_stands_in_the_repository_is_what_the_command_writes(name):
    robot = load_robot(name)
    folder = moveit_folder(name, robot.path)
    texts = moveit_files(robot, HANDS)
    assert sorted(texts) == sorted(file.name for file in folder.iterdir())
    for file, text in texts.items():
        assert (folder / file).read_text() == text, f"write it anew: dexvla robot moveit {name}"


def test_a_pose_that_was_added_by_hand_stays(tmp_path, monkeypatch):
    robot = load_robot("ur5e")
    shutil.copytree(moveit_folder("ur5e", robot.path), tmp_path / "moveit" / "ur5e")
    srdf = tmp_path / "moveit/ur5e/ur5e.srdf"
    added = (
        '<group_state name="rest" group="arm"><joint name="elbow_joint" value="1.5"/></group_state></robot>'
    )
    srdf.write_text(srdf.read_text().replace("</robot>", added))
    (tmp_path / "robots").mkdir()
    copied = tmp_path / "robots/ur5e.yaml"
    copied.write_text(robot.text.replace("urdf/ur5e", str(robot.urdf_path.parent / "ur5e")))
    monkeypatch.setattr("dexvla_ros.motion.moveit_files.disabled_pairs", lambda robot, compliant: {})
    text = moveit_files(load_robot(copied), HANDS)["ur5e.srdf"]
    srdf.write_text(text)
    assert read_srdf(srdf).states["rest"] == {"elbow_joint": 1.5}


def test_the_two_arms_are_groups_of_their_own_and_move_together(robot):
    semantics = read_srdf(moveit_folder("agilex_dual", robot.path) / "agilex_dual.srdf")
    assert semantics.chains.keys() == {"left_arm", "right_arm"}
    assert semantics.subgroups["all"] == ("left_arm", "left_gripper", "right_arm", "right_gripper")
    assert ("left_gripper", "left_gripper_base", "left_gripper") in semantics.end_effectors


def test_moveit_py_gets_the_files_under_the_names_that_it_reads(robot):
    parameters = moveit_parameters(robot, PlannerSettings(planning_time_s=3.0))
    assert '<link name="table">' in parameters["robot_description"]
    assert "<group_state" in parameters["robot_description_semantic"]
    limits = parameters["robot_description_planning"]["joint_limits"]["elbow_joint"]
    assert limits["max_acceleration"] == robot.limits["elbow_joint"].acceleration
    assert parameters["plan_request_params"]["planning_time"] == 3.0
    assert parameters["planning_pipelines"]["pipeline_names"] == ["ompl"]
    assert yaml.safe_dump(parameters["moveit_simple_controller_manager"])
