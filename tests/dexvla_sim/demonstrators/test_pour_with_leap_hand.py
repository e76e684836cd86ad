"""Pouring with a Franka and a LEAP hand: the same demonstrator with another grasp, on its other side, and a slower arm."""

import itertools
from functools import cache

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.robot import load_robot
from dexvla_sim.demonstrators.hand_grasp import GraspingHand
from dexvla_sim.demonstrators.pour import POURING_TILT_RAD, PourDemonstrator
from dexvla_sim.demonstrators.pour_scene import PourPhase
from dexvla_sim.disturbance import Disturbance, disturbance_of
from dexvla_sim.engine import mujoco
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks.pour import BOWL_REGION_X_M, BOWL_REGION_Y_M, CUP_REGION_X_M, CUP_REGION_Y_M

WORDS = ["reach", "close", "grasp", "lift", "carry", "pour", "turn", "done"]
CUPS = list(itertools.product(CUP_REGION_X_M, CUP_REGION_Y_M))
BOWLS = list(itertools.product(BOWL_REGION_X_M, BOWL_REGION_Y_M))


@cache
def robot():
    return load_robot("fr3_leap")


@cache
def world() -> Simulation:
    return Simulation(robot(), "pour")


@cache
def demonstrator() -> PourDemonstrator:
    return PourDemonstrator(robot())


@pytest.fixture
def simulation() -> Simulation:
    world().reset(0)
    return world()


def positions_at(place, tilt_rad: float = 0.0, closed: bool = False) -> np.ndarray:
    """(A,) rad with grasp_frame at `place` (3,) m, on the way there from home along a straight line."""
    hand, positions = demonstrator()._hand, robot().home_positions.copy()
    start = hand.pose(positions[hand.arm]).position
    for share in np.linspace(0.1, 1.0, 10):
        goal, rotation = start + share * (place - start), hand.tilted(share * tilt_rad)
        positions[hand.arm] = hand.kinematics.inverse(goal, rotation, positions[hand.arm])
    assert hand.pose(positions[hand.arm]).position == pytest.approx(place, abs=1e-3)
    positions[hand.hand] = hand.closed if closed else hand.open
    return positions


def inside_limits(positions: np.ndarray) -> bool:
    limits = [robot().limits[joint] for joint in robot().action_joints]
    lower, upper = np.array([limit.lower for limit in limits]), np.array([limit.upper for limit in limits])
    return bool(((positions > lower + 0.05) & (positions < upper - 0.05)).all())


def test_home_is_the_open_hand_upright_and_ready_to_reach(scene_with):
    hand, home = demonstrator()._hand, robot().home_positions
    assert np.array_equal(home[hand.hand], hand.open)
    pose = hand.pose(home[hand.arm])
    assert abs(pose.tilt_rad) < 1e-3 and np.linalg.norm(pose.swing) < 1e-3
    assert demonstrator().phase(scene_with(), RobotState(0.0, home)) is PourPhase.REACH


@pytest.mark.parametrize("cup", CUPS)
def test_around_a_cup_anywhere_the_robot_touches_neither_table_nor_bowl(simulation, cup, scene_with):
    made, model, data = demonstrator(), simulation.model, simulation.data
    for bowl, back_m in itertools.product(BOWLS, (0.0, 0.055, 0.11)):
        scene = scene_with(cup, bowl)
        positions = positions_at(made._around(scene) - back_m * made._approach)
        assert inside_limits(positions)
        data.mocap_pos[model.body("bowl").mocapid[0], :2] = bowl
        simulation.place_robot(positions)
        bodies = model.geom_bodyid[data.contact.geom[: data.ncon]]
        of_robot = model.body_gravcomp[bodies] > 0.0
        others = {model.body(body).name for body in bodies[of_robot.any(axis=1)][~of_robot[of_robot.any(axis=1)]]}
        assert not others & {"world", "bowl"}, (bowl, back_m)


@pytest.mark.parametrize("bowl", BOWLS)
def test_over_a_bowl_anywhere_the_lip_stays_before_its_middle_and_the_joints_within_their_limits(bowl, scene_with):
    made, scene = demonstrator(), scene_with(bowl=bowl, held=True)
    for tilt in (0.0, 0.7, 1.4, POURING_TILT_RAD):
        positions = positions_at(made._pouring_place(scene, tilt), tilt, closed=True)
        hand = made._hand
        assert inside_limits(positions)
        assert made.phase(scene, RobotState(0.0, positions)) is PourPhase.POUR
        found, rotation = hand.kinematics.forward(positions[hand.arm])
        lip = found + rotation @ made._lip
        assert 0.02 < np.linalg.norm((lip - scene.bowl)[:2]) < 0.05 and lip[2] > 0.10
    # The opening looks down then, and to the side that the palm looks to.
    opening = rotation @ made._hand.above(1.0)
    assert opening[2] < -0.5 and opening @ made._hand.upright[:, 0] > 0.5


def test_thumb_and_fingers_hold_a_cup_without_meeting_each_other(simulation):
    """The simulation lets the robot's own shapes pass through each other, so the grasp has to see to it."""
    hand, positions = demonstrator()._hand, robot().home_positions.copy()
    model, data = simulation.model, simulation.data
    for thumb in (hand.grasp.contact, hand.grasp.contact - 0.05, hand.open[hand.thumb]):
        positions[hand.hand] = hand.closed
        positions[hand.hand[hand.thumb]] = thumb
        simulation.place_robot(positions)
        solid = [geom for geom in range(model.ngeom) if model.geom_conaffinity[geom] and not model.geom_contype[geom]]
        names = {geom: model.body(model.geom_bodyid[geom]).name for geom in solid}
        thumbs = [geom for geom, name in names.items() if name.startswith("thumb")]
        fingers = [geom for geom, name in names.items() if name.startswith(("mcp", "pip", "dip", "fingertip"))]
        assert len(thumbs) == 4 and len(fingers) == 12
        for one, other in itertools.product(thumbs, fingers):
            assert mujoco.mj_geomDistance(model, data, one, other, 0.1, None) > 0.002, (names[one], names[other])


def test_where_it_lines_up_with_the_cup_the_open_hand_is_short_of_it(simulation, scene_with):
    """So it may come there from any side without pushing the cup; home is no nearer."""
    made, model, data = demonstrator(), simulation.model, simulation.data
    cup = model.geom("cup_outside").id
    place = np.array(simulation.ground_truth()["cup"]["position"])
    scene = scene_with(cup=place[:2])
    simulation.place_robot(positions_at(made._around(scene) - made._hand.grasp.stand_off_m * made._approach))
    shapes = [geom for geom in range(model.ngeom) if model.geom_conaffinity[geom] and not model.geom_contype[geom]]
    assert min(mujoco.mj_geomDistance(model, data, geom, cup, 0.1, None) for geom in shapes) > 0.004
    home = made._hand.pose(robot().home_positions[made._hand.arm])
    for nearest in itertools.product(CUP_REGION_X_M[:1], CUP_REGION_Y_M):
        assert made._to_cup(scene_with(cup=nearest), home)[0] > made._hand.grasp.stand_off_m - 0.01


def test_an_arm_that_accelerates_less_is_planned_slower(scene_with):
    assert GraspingHand(load_robot("ur5e_inspire")).pace == 1.0
    assert 0.5 < demonstrator()._hand.pace < 0.8
    limits = [robot().limits[joint] for joint in robot().action_joints]
    state = RobotState(0.0, robot().home_positions.copy())
    for _ in range(8):
        chunk = demonstrator().chunk(scene_with(cup=(0.59, -0.20)), state)
        speeds = np.abs(np.diff(chunk.positions, axis=0)) / chunk.step_s
        assert (speeds <= [limit.velocity for limit in limits]).all()
        state = RobotState(state.stamp_s + 0.4, chunk.positions[4])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_it_pours_and_says_every_sub_step_in_order(simulation, rollout, seed):
    result = rollout.run(seed, 25.0)
    assert result.success and result.finished and result.refused_chunks == 0
    assert result.milestones == list(simulation.task.milestones) and result.score == 1.0
    words = [text.split()[0] for text in result.sub_steps]
    assert [word for index, word in enumerate(words) if word not in words[:index]] == WORDS
    assert result.duration_s < 20.0


# Of the first 12 seeds, 0 and 8 fail.
PUSHES_THE_CUP_AWAY = pytest.mark.xfail(reason="the hand pushes the cup away and does not get it again")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(0, marks=PUSHES_THE_CUP_AWAY), 1])
def test_it_recovers_from_pushes(rollout, seed):
    disturbance = Disturbance(robot(), seed, disturbance_of("pour"))
    rollout.on_reset = lambda simulation: simulation.place_robot(disturbance.start_positions)
    rollout.change_chunk = disturbance
    assert rollout.run(seed, 30.0).success
