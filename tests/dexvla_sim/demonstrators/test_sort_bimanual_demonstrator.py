"""The demonstrator of sorting with two arms: it hands over, keeps the arms apart, and gets over mishaps."""

import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.policy import DONE_TEXT
from dexvla_model.robot import load_robot
from dexvla_sim.demonstrators.sort_bimanual import BimanualDemonstrator
from dexvla_sim.engine import mujoco
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks.sort_bimanual import SortBimanual

LEFT_GRIPPER, RIGHT_GRIPPER = 6, 13
OPEN_M = 0.035
SMALLEST_DISTANCE_M = 0.02


@pytest.fixture(scope="module")
def built() -> Simulation:
    return Simulation(load_robot("agilex_dual"), "sort_bimanual")


@pytest.fixture
def world(built) -> Simulation:
    built.reset(0)
    return built


@pytest.fixture(scope="module")
def both_arms(built) -> ScriptedPolicy:
    return ScriptedPolicy(built.robot)


class Once:
    """Disturbs once, when its condition first holds."""

    def __init__(self, condition, action):
        self.condition, self.action, self.happened = condition, action, False

    def __call__(self, simulation):
        if not self.happened and self.condition(simulation):
            self.happened = True
            self.action(simulation)


class Distances:
    """Smallest distance between the collision shapes of the two arms, looked at whenever it is called."""

    def __init__(self, simulation: Simulation) -> None:
        model = simulation.model
        self.smallest_m = math.inf
        links = [model.body(int(body)).name for body in model.geom_bodyid]
        solid = [bool(model.geom_conaffinity[geom]) for geom in range(model.ngeom)]
        left, right = (
            [geom for geom in range(model.ngeom) if solid[geom] and links[geom].startswith(prefix)]
            for prefix in ("left_", "right_")
        )
        self._pairs = list(itertools.product(left, right))

    def __call__(self, simulation: Simulation) -> None:
        model, data = simulation.model, simulation.data
        for one, other in self._pairs:
            apart = math.dist(data.geom_xpos[one], data.geom_xpos[other])
            if apart - model.geom_rbound[one] - model.geom_rbound[other] < 0.1:
                distance = mujoco.mj_geomDistance(model, data, one, other, 0.1, None)
                self.smallest_m = min(self.smallest_m, distance)


@pytest.fixture(scope="module")
def episode(built, both_arms, drive) -> SimpleNamespace:
    """One episode, with what the task said of its milestones and how near the arms came to each other."""
    built.reset(0)
    scene = built.ground_truth()
    distances, reached = Distances(built), []

    def look(simulation):
        distances(simulation)
        now = simulation.task.reached(simulation.model, simulation.data)
        if now not in reached:
            reached.append(now)

    outcome = drive(built, both_arms, disturb=look)
    return SimpleNamespace(outcome=outcome, reached=reached, smallest_m=distances.smallest_m, scene=scene)


def held(simulation) -> dict:
    return simulation.ground_truth()["held"]


def height(simulation) -> float:
    return float(simulation.data.body("bar").xpos[2])


def let_go(command, gripper):
    """An action that opens a gripper where it is."""

    def act(simulation):
        positions = simulation.robot_state().positions
        opened = positions.copy()
        opened[gripper] = OPEN_M
        command(simulation, np.stack([positions, opened]), np.array([0.0, 0.5]))
        simulation.step(0.9)

    return act


def turn_bar(simulation, place, yaw):
    joint = simulation.data.joint("bar_joint")
    joint.qpos[:3] = place
    joint.qpos[3:] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    joint.qvel[:] = 0.0


def test_it_solves_the_task_and_says_so(episode):
    assert episode.outcome.success and episode.outcome.finished
    assert 8.0 < episode.outcome.duration_s < 16.0


def test_it_says_the_sub_steps_in_order_with_places_and_arms(episode):
    said, bar, box = episode.outcome.sub_steps, episode.scene["target"], episode.scene["box"]
    objects = {entry["name"]: entry for entry in episode.scene["objects"]}
    goal = " ".join(str(round(100 * value)) for value in objects[box]["position"][:2])
    assert re.fullmatch(rf"reach the {bar} at \d+ \d+ turned -?\d+", said[0])
    assert said[1:3] == [said[0].replace("reach", "lower to"), said[0].replace("reach", "grasp")]
    assert said[3:] == [
        f"lift the {bar} with the left",
        f"hand over the {bar} to the right",
        f"take the {bar} with the right",
        f"grasp the {bar} with the right",
        f"let go of the {bar} with the left",
        "move away with the left",
        f"place the {bar} in the {box} at {goal}",
        f"release the {bar} at {goal}",
        "move away",
        DONE_TEXT,
    ]


def test_the_milestones_are_reached_in_order(episode):
    first = [
        next(index for index, now in enumerate(episode.reached) if now[milestone]) for milestone in range(4)
    ]
    assert first == sorted(first)


def test_the_arms_keep_their_distance(episode):
    assert SMALLEST_DISTANCE_M < episode.smallest_m < math.inf


def test_it_hands_over_from_right_to_left_too(both_arms, drive):
    simulation = Simulation(both_arms.robot, SortBimanual(("right",)), seed=1)
    outcome = drive(simulation, both_arms)
    assert outcome.success
    assert any(text.endswith("to the left") for text in outcome.sub_steps)


def test_it_picks_a_dropped_bar_up_again(world, both_arms, drive, command):
    drop = Once(lambda sim: held(sim)["left"] and height(sim) > 0.12, let_go(command, LEFT_GRIPPER))
    outcome = drive(world, both_arms, disturb=drop, timeout_s=25.0)
    assert drop.happened and outcome.success
    assert sum(text.startswith("lift") for text in outcome.sub_steps) == 2


def test_a_bar_that_the_taking_arm_drops_goes_into_the_box_without_the_other_arm(
    world, both_arms, drive, command
):
    taken = Once(
        lambda sim: held(sim) == {"left": False, "right": True} and sim.data.body("bar").xpos[1] < -0.08,
        let_go(command, RIGHT_GRIPPER),
    )
    outcome = drive(world, both_arms, disturb=taken, timeout_s=25.0)
    assert taken.happened and outcome.success
    assert sum(text.startswith("hand over") for text in outcome.sub_steps) == 1


@pytest.mark.parametrize("yaw", [-1.1, 1.2])
def test_it_follows_a_bar_that_is_turned_by_hand_from_a_start_elsewhere(world, both_arms, drive, yaw):
    generator = np.random.default_rng(3)
    start = world.robot.home_positions + generator.uniform(-0.15, 0.15, 14)
    start[[LEFT_GRIPPER, RIGHT_GRIPPER]] = 0.02
    turn_bar(world, (0.30, 0.24, 0.012), yaw)
    world.place_robot(start)
    outcome = drive(world, both_arms, late_substeps=True, timeout_s=25.0)
    assert outcome.success
    assert outcome.sub_steps[0].endswith(str(5 * round(math.degrees(yaw % math.pi) / 5)))


def test_the_other_arm_stays_away_while_one_picks(world, both_arms, observe):
    observation = observe(world)
    chunk = both_arms.act(both_arms.reason(observation, world.instruction), observation.state)
    assert chunk.positions.shape == (both_arms.horizon, 14)
    assert chunk.positions[:, RIGHT_GRIPPER] == pytest.approx(OPEN_M)
    world.place_robot(chunk.positions[-1])
    assert world.data.body("right_grasp_frame").xpos[1] < -0.15


def test_both_arms_rest_where_both_hold_the_bar(world, both_arms, observe, drive):
    class BothHold(Exception):
        pass

    def stop(simulation):
        if all(held(simulation).values()):
            raise BothHold

    with pytest.raises(BothHold):
        drive(world, both_arms, disturb=stop)
    observation = observe(world)
    substep = both_arms.reason(observation, world.instruction)
    assert substep.text.startswith("let go") and substep.text.endswith("left")
    rows = both_arms.act(substep, observation.state).positions
    arms = [index for index in range(14) if index not in (LEFT_GRIPPER, RIGHT_GRIPPER)]
    assert np.abs(rows[:3, arms] - rows[0, arms]).max() < 0.01
    assert rows[4, LEFT_GRIPPER] > rows[0, LEFT_GRIPPER] + 0.005
    assert rows[4, RIGHT_GRIPPER] <= rows[0, RIGHT_GRIPPER] + 1e-6


def test_acting_needs_the_condition_and_the_joints_alone(world, both_arms, observe):
    world.step(0.3)
    observation = observe(world)
    substep = both_arms.reason(observation, world.instruction)
    assert substep.condition.dtype == np.float32 and substep.condition.ndim == 1
    elsewhere = ScriptedPolicy(world.robot).act(substep, observation.state)
    assert np.array_equal(both_arms.act(substep, observation.state).positions, elsewhere.positions)


def test_a_chunk_starts_where_the_robot_is_and_stays_within_the_limits(world, both_arms, observe):
    robot = world.robot
    limits = [robot.limits[joint] for joint in robot.action_joints]
    lower, upper, velocity = (
        np.array([getattr(limit, name) for limit in limits]) for name in ("lower", "upper", "velocity")
    )
    for seed in range(4):
        world.reset(seed)
        observation = observe(world)
        substep = both_arms.reason(observation, world.instruction)
        chunk = both_arms.act(substep, observation.state)
        assert chunk.positions[0] == pytest.approx(observation.state.positions)
        assert (chunk.positions >= lower).all() and (chunk.positions <= upper).all()
        assert (np.abs(np.diff(chunk.positions, axis=0)) / chunk.step_s <= 0.95 * velocity).all()
        committed = chunk.positions[:4]
        follows = both_arms.act(substep, observation.state, prefix=committed).positions
        assert np.array_equal(follows[:4], committed)
        before, after = committed[-1] - committed[-2], follows[4] - committed[-1]
        assert (np.abs(after - before) / chunk.step_s**2 < 6.0).all()


def test_a_robot_with_one_arm_cannot_do_it():
    with pytest.raises(UserError, match="there is no link left_grasp_frame"):
        BimanualDemonstrator(load_robot("ur5e"))
