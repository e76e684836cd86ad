"""The scripted demonstrator: solves every scene, from every state, and keeps no memory."""

import re

import numpy as np
import pytest

from dexvla_model.observation import InvalidObservation, Observation
from dexvla_model.policy import DONE_TEXT
from dexvla_sim.demonstrators.gripper_arm import TOOL_ROTATION
from dexvla_sim.kinematics import ToolKinematics
from dexvla_sim.scripted_policy import ScriptedPolicy

GRIPPER = 6


def held(simulation) -> bool:
    return any(entry["held"] for entry in simulation.ground_truth()["objects"])


class Once:
    """Disturbs once, when its condition first holds."""

    def __init__(self, condition, action):
        self.condition, self.action, self.happened = condition, action, False

    def __call__(self, simulation):
        if not self.happened and self.condition(simulation):
            self.happened = True
            self.action(simulation)


@pytest.mark.parametrize("seed", range(8))
def test_it_solves_the_task_and_says_so(simulation, policy, drive, seed):
    simulation.reset(seed)
    outcome = drive(simulation, policy)
    assert outcome.success and outcome.finished
    assert 4.0 < outcome.duration_s < 10.0


def test_it_says_the_sub_steps_in_order_with_the_places_in_centimetres(simulation, policy, drive):
    scene = simulation.ground_truth()
    target = next(entry for entry in scene["objects"] if entry["name"] == scene["target"])
    x, y = (round(100 * value) for value in target["position"][:2])
    tray = " ".join(str(round(100 * value)) for value in scene["tray"]["position"][:2])
    said = drive(simulation, policy).sub_steps
    verbs = [text.split()[0] for text in said]
    assert verbs == ["move", "lower", "grasp", "lift", "carry", "release", "move", "done"]
    assert said[:4] == [
        f"move above the {scene['target']} at {x} {y}",
        f"lower to the {scene['target']} at {x} {y}",
        said[2],
        f"lift the {scene['target']}",
    ]
    assert re.fullmatch(rf"grasp the {scene['target']} at -?\d+ -?\d+", said[2])
    assert said[4] == f"carry the {scene['target']} to the tray at {tray}"
    assert said[5] == f"release the {scene['target']} at {tray}"
    assert said[6:] == ["move away", DONE_TEXT]


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_it_tolerates_noise_on_its_commands(simulation, policy, drive, seed):
    simulation.reset(seed)
    assert drive(simulation, policy, noise_rad=0.01).success


@pytest.mark.parametrize("seed", [40, 41, 42])
def test_a_sub_step_that_comes_late_does_not_make_it_let_go(simulation, policy, drive, seed):
    simulation.reset(seed)
    outcome = drive(simulation, policy, late_substeps=True)
    assert outcome.success
    assert sum(text.startswith("lift") for text in outcome.sub_steps) == 1


@pytest.mark.parametrize("seed", [30, 31, 32])
def test_it_starts_from_other_poses_and_with_a_half_closed_gripper(simulation, policy, drive, seed):
    simulation.reset(seed)
    generator = np.random.default_rng(seed)
    start = simulation.robot.home_positions + generator.uniform(-0.15, 0.15, 7)
    start[GRIPPER] = generator.uniform(0.2, 0.6)
    simulation.place_robot(start)
    assert drive(simulation, policy).success


def test_it_picks_a_dropped_cube_up_again(simulation, policy, drive, command):
    def let_go(simulation):
        positions = simulation.robot_state().positions
        opened = np.append(positions[:GRIPPER], 0.0)
        command(simulation, np.stack([positions, opened]), np.array([0.0, 0.3]))
        simulation.step(0.8)

    drop = Once(lambda sim: held(sim) and sim.data.body("grasp_frame").xpos[2] > 0.08, let_go)
    outcome = drive(simulation, policy, disturb=drop)
    assert drop.happened and outcome.success
    assert sum(text.startswith("lift") for text in outcome.sub_steps) == 2


def test_it_follows_a_cube_that_is_moved_by_hand(simulation, policy, drive, move_object):
    place = (0.37, -0.20, 0.02)
    near = Once(
        lambda sim: sim.data.body("grasp_frame").xpos[2] < 0.10,
        lambda sim: move_object(sim, sim.task.target, place),
    )
    for index in range(3):
        if index != simulation.task.target:
            move_object(simulation, index, (0.55, -0.1 + 0.05 * index, 0.02))
    outcome = drive(simulation, policy, disturb=near)
    assert near.happened and outcome.success
    assert any(text.endswith("at 37 -20") for text in outcome.sub_steps)


def test_it_opens_a_gripper_that_closed_on_nothing_and_rises_first(simulation, policy, observe):
    scene = simulation.ground_truth()
    target = next(entry for entry in scene["objects"] if entry["name"] == scene["target"])
    kinematics = ToolKinematics(simulation.robot)
    beside = np.array(target["position"]) + [0.0, 0.07, 0.01]
    arm = kinematics.inverse(beside, TOOL_ROTATION, simulation.robot.home_positions[:GRIPPER])
    simulation.place_robot(np.append(arm, 0.5))
    observation = observe(simulation)
    substep = policy.reason(observation, simulation.instruction)
    chunk = policy.act(substep, observation.state)
    assert substep.text.startswith("move above")
    assert chunk.positions[-1, GRIPPER] == pytest.approx(0.0, abs=0.1)
    heights = [kinematics.forward(row[:GRIPPER])[0][2] for row in chunk.positions[:4]]
    assert heights == sorted(heights) and heights[-1] > beside[2] + 0.02


def test_acting_needs_the_condition_and_the_joints_alone(robot, simulation, policy, observe):
    simulation.step(0.5)
    observation = observe(simulation)
    substep = policy.reason(observation, simulation.instruction)
    assert substep.condition.dtype == np.float32 and substep.condition.ndim == 1
    elsewhere = ScriptedPolicy(robot)  # as in another process
    assert np.array_equal(
        policy.act(substep, observation.state).positions, elsewhere.act(substep, observation.state).positions
    )


def test_a_chunk_starts_where_the_robot_is_and_stays_within_the_limits(simulation, policy, observe):
    robot = simulation.robot
    lower = np.array([robot.limits[joint].lower for joint in robot.action_joints])
    upper = np.array([robot.limits[joint].upper for joint in robot.action_joints])
    velocity = np.array([robot.limits[joint].velocity for joint in robot.action_joints])
    for seed in range(10):
        simulation.reset(seed)
        observation = observe(simulation)
        chunk = policy.act(policy.reason(observation, simulation.instruction), observation.state)
        assert chunk.stamp_s == observation.state.stamp_s
        assert chunk.joints == robot.action_joints
        assert chunk.positions.shape == (policy.horizon, 7)
        assert chunk.positions[0] == pytest.approx(observation.state.positions)
        assert (chunk.positions >= lower).all() and (chunk.positions <= upper).all()
        assert (np.abs(np.diff(chunk.positions, axis=0)) / chunk.step_s <= 0.95 * velocity).all()


def test_a_chunk_goes_on_from_the_committed_rows(simulation, policy, observe):
    observation = observe(simulation)
    substep = policy.reason(observation, simulation.instruction)
    committed = policy.act(substep, observation.state).positions[:4]
    chunk = policy.act(substep, observation.state, prefix=committed)
    assert np.array_equal(chunk.positions[:4], committed)
    before, after = committed[-1] - committed[-2], chunk.positions[4] - committed[-1]
    assert np.abs(after - before).max() / chunk.step_s**2 < 5.0


def test_a_finished_task_keeps_the_robot_still(simulation, policy, observe, move_object):
    move_object(
        simulation, simulation.task.target, tuple(simulation.data.body("tray").xpos + [0.0, 0.0, 0.03])
    )
    simulation.step(1.0)
    observation = observe(simulation)
    substep = policy.reason(observation, simulation.instruction)
    assert substep.finished and substep.text == DONE_TEXT
    chunk = policy.act(substep, observation.state)
    assert np.abs(chunk.positions - observation.state.positions).max() < 1e-3


def test_without_ground_truth_it_refuses(simulation, policy):
    with pytest.raises(InvalidObservation, match="ground truth"):
        policy.reason(Observation(0.0, {}, simulation.robot_state()), simulation.instruction)
