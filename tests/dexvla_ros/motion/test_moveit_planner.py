"""The planner with MoveIt, with a stand-in for `moveit_py`: when it is taken, and what it is asked."""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.streaming import StreamSettings
from dexvla_ros.motion.goals import MoveGoal
from dexvla_ros.motion.planner import EmbeddedPlanner, PlannerSettings
from dexvla_ros.motion.planners import make_planner
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome

SETTINGS = PlannerSettings(1.0, StreamSettings().compliant_controllers)


class FakeMoveIt:
    """Answers with a way over the top, or with none."""

    answer = True
    made: list["FakeMoveIt"] = []

    def __init__(self, node_name, config_dict):
        self.parameters, self.states = config_dict, {}
        FakeMoveIt.made.append(self)

    def get_robot_model(self):
        return "model"

    def get_planning_component(self, group):
        self.group = group
        return self

    def set_start_state(self, robot_state):
        self.states["start"] = robot_state.joint_positions

    def set_goal_state(self, robot_state):
        self.states["goal"] = robot_state.joint_positions

    def plan(self):
        if not FakeMoveIt.answer:
            return None
        names = list(self.states["start"])
        over = {
            **self.states["start"],
            "elbow_joint": 0.5,
            "shoulder_lift_joint": -1.7,
            "wrist_1_joint": -1.5,
        }
        rows = [self.states["start"], over, self.states["goal"]]
        points = [SimpleNamespace(positions=[row[name] for name in names]) for row in rows]
        message = SimpleNamespace(joint_trajectory=SimpleNamespace(joint_names=names, points=points))
        return SimpleNamespace(trajectory=SimpleNamespace(get_robot_trajectory_msg=lambda: message))


class FakeState:
    def __init__(self, model):
        self.joint_positions = {}

    def update(self):
        pass


@pytest.fixture
def moveit(monkeypatch):
    for name, content in (
        ("moveit", {}),
        ("moveit.core", {}),
        ("moveit.core.robot_state", {"RobotState": FakeState}),
        ("moveit.planning", {"MoveItPy": FakeMoveIt}),
    ):
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(FakeMoveIt, "answer", True)
    FakeMoveIt.made.clear()
    return FakeMoveIt


def test_without_moveit_the_embedded_planner_is_taken_and_asking_for_moveit_is_a_mistake(robot):
    assert type(make_planner("auto", robot, SETTINGS)) is EmbeddedPlanner
    with pytest.raises(UserError, match="moveit_py is not installed; install"):
        make_planner("moveit", robot, SETTINGS)


def test_moveit_is_asked_only_for_a_way_around_and_its_way_is_timed_and_checked(robot, moveit):
    planner = make_planner("auto", robot, SETTINGS)
    (fake,) = moveit.made
    assert "<group_state" in fake.parameters["robot_description_semantic"]
    free = planner.plan(robot.home_positions, MoveGoal(joints=("shoulder_pan_joint",), positions=(0.2,)))
    assert not fake.states and free.rest_positions[0] == pytest.approx(0.2)
    start = np.array([-0.5, -1.48, 2.52, -1.7, -2.21, -0.88, 0.0])
    goal = (-0.61, -1.07, 1.64, -2.35, -0.97, -0.84)
    arm = robot.action_joints[:6]
    around = planner.plan(start, MoveGoal(joints=arm, positions=goal))
    assert fake.group == "all" and fake.states["goal"]["elbow_joint"] == 1.64
    np.testing.assert_allclose(around.rest_positions[:6], goal)
    assert around.control_points(0, 400)[:, 2].min() < 1.5
    moveit.answer = False
    with pytest.raises(MotionRefused) as caught:
        planner.plan(start, MoveGoal(joints=arm, positions=goal))
    assert caught.value.outcome is MoveOutcome.NO_PATH


def test_what_moveit_does_not_refuse_is_refused_all_the_same(robot, moveit):
    planner = make_planner("moveit", robot, SETTINGS)
    with pytest.raises(MotionRefused, match="stands in collision: .* and table touch"):
        planner.plan(np.array([0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0]), MoveGoal(named="home"))
