"""The demonstrator of pouring: it does it, says where, and answers sensibly in any state."""

from functools import cache

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.observation import RobotState
from dexvla_model.robot import load_robot
from dexvla_sim.demonstrators.pour import HORIZON, POURING_TILT_RAD, PourDemonstrator
from dexvla_sim.demonstrators.pour_scene import PourPhase
from dexvla_sim.disturbance import Disturbance, DisturbanceSettings
from dexvla_sim.simulation import Simulation

WORDS = ["reach", "close", "grasp", "lift", "carry", "pour", "turn", "done"]


@cache
def robot():
    return load_robot("ur5e_inspire")


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


def state_at(hand_around: float = 0.0, bent: float = 0.0, tilt_rad: float = 0.0, scene=None) -> RobotState:
    """The robot at the cup of `scene`, `hand_around` m before the end of its way, its hand so far closed."""
    positions, hand = robot().home_positions.copy(), demonstrator()._hand
    if scene is not None:
        place = demonstrator()._around(scene) - hand_around * demonstrator()._approach
        positions[hand.arm] = hand.kinematics.inverse(place, hand.tilted(0.0), positions[hand.arm])
    positions[hand.hand] = hand.open + bent * (hand.closed - hand.open)
    positions[robot().action_joints.index("wrist_3_joint")] -= tilt_rad
    return RobotState(0.0, positions)


@pytest.mark.parametrize("seed", range(2))
def test_it_pours_and_says_every_sub_step_in_order(simulation, rollout, seed):
    result = rollout.run(seed, 20.0)
    assert result.success and result.finished and result.refused_chunks == 0
    assert result.milestones == list(simulation.task.milestones) and result.score == 1.0
    words = [text.split()[0] for text in result.sub_steps]
    assert [word for index, word in enumerate(words) if word not in words[:index]] == WORDS
    assert result.duration_s < 15.0


def test_texts_name_places_in_whole_centimetres(simulation, scene_with):
    scene = scene_with()
    texts = [demonstrator().text(phase, scene, "cup") for phase in PourPhase]
    assert "reach the cup at 54 -12" in texts and "pour into the bowl at 52 20" in texts
    assert "carry the cup to the bowl at 52 20" in texts and "lift the cup" in texts and texts[-1] == "done"


def test_the_scene_survives_its_vector(simulation):
    truth = simulation.ground_truth()
    scene = demonstrator().scene(truth)
    back = demonstrator().scene_of(scene.to_vector())
    assert back.cup == pytest.approx(scene.cup, abs=1e-6) and back.up == pytest.approx(scene.up, abs=1e-6)
    assert (back.held, back.balls, back.success) == (scene.held, scene.balls, scene.success)


def test_sub_steps_follow_from_where_things_are(scene_with):
    phase, scene = demonstrator().phase, scene_with()
    assert phase(scene, state_at()) is PourPhase.REACH
    assert phase(scene, state_at(0.06, scene=scene)) is PourPhase.CLOSE_IN
    assert phase(scene, state_at(0.0, scene=scene)) is PourPhase.GRASP
    held = scene_with(held=True)
    assert phase(held, state_at(0.0, 1.0, scene=scene)) is PourPhase.LIFT
    assert phase(scene_with(held=True, balls=0), state_at(0.0, 1.0, 1.5, scene=scene)) is PourPhase.UPRIGHT
    assert phase(scene_with(held=True, balls=0, success=True), state_at(0.0, 1.0, scene=scene)) is PourPhase.DONE


def test_a_cup_in_the_air_is_not_let_go_when_the_thumb_slips_for_a_moment(scene_with):
    hand = demonstrator()._hand
    state = state_at(0.0, 1.0, scene=scene_with(cup=(0.54, -0.12)))
    positions = state.positions.copy()
    place, rotation = hand.kinematics.forward(positions[hand.arm])
    positions[hand.arm] = hand.kinematics.inverse(place + [0.0, 0.0, 0.10], rotation, positions[hand.arm])
    scene = scene_with(cup=np.array([0.54, -0.12, 0.10]))
    state = RobotState(0.0, positions)
    assert demonstrator().phase(scene, state) is PourPhase.CARRY
    chunk = demonstrator().chunk(scene, state)
    assert chunk.positions[-1, hand.hand] == pytest.approx(hand.closed)


def test_a_half_closed_hand_opens_before_it_goes_to_the_cup(scene_with):
    scene = scene_with()
    chunk = demonstrator().chunk(scene, state_at(0.09, 1.0, scene=scene))
    hand = demonstrator()._hand
    spreads = [hand.spread(row[hand.hand]) for row in chunk.positions]
    along = [demonstrator()._to_cup(scene, hand.pose(row[hand.arm]))[0] for row in chunk.positions]
    near = next(index for index, distance in enumerate(along) if distance < 0.03)
    assert spreads[near] < 0.5 < spreads[0]


def test_a_hand_beside_the_cup_backs_off_before_it_comes_again(scene_with):
    """It does not sweep the cup away: the way forward opens only when the hand is in line with the cup."""
    scene = scene_with()
    aside = scene_with(cup=scene.cup + [0.0, 0.07, 0.0])
    chunk = demonstrator().chunk(aside, state_at(0.0, scene=scene))
    hand = demonstrator()._hand
    along = [demonstrator()._to_cup(aside, hand.pose(row[hand.arm]))[0] for row in chunk.positions]
    assert max(along) > along[0] + 0.03


def test_a_fallen_cup_is_left_alone(scene_with):
    scene = scene_with(up=np.array([1.0, 0.0, 0.0]))
    chunk = demonstrator().chunk(scene, state_at(0.05, scene=scene))
    arm = demonstrator()._hand.arm
    assert np.ptp(chunk.positions[:, arm], axis=0).max() < 1e-3
    assert demonstrator().phase(scene, state_at(0.05, scene=scene)) is PourPhase.REACH


def test_a_chunk_begins_with_the_committed_rows_and_keeps_the_joints_limits(scene_with):
    scene = scene_with()
    first = demonstrator().chunk(scene, state_at())
    prefix = first.positions[2:5]
    chunk = demonstrator().chunk(scene, RobotState(0.2, first.positions[2]), prefix)
    assert chunk.positions.shape == (HORIZON, len(robot().action_joints))
    assert np.array_equal(chunk.positions[:3], prefix)
    limits = [robot().limits[joint] for joint in robot().action_joints]
    steps = np.abs(np.diff(chunk.positions, axis=0)) / chunk.step_s
    assert (steps <= [limit.velocity for limit in limits]).all()
    # The same way as before, as far as both see it.
    assert chunk.positions[:10] == pytest.approx(first.positions[2:12], abs=0.02)


def test_over_the_bowl_it_tilts_the_cup_and_its_lip_stays_before_the_middle(scene_with):
    made, scene = demonstrator(), scene_with(held=True)
    hand = made._hand
    arm = robot().home_positions[hand.arm]
    for tilt in (0.0, 1.0, POURING_TILT_RAD):
        place = made._pouring_place(scene, tilt)
        arm = hand.kinematics.inverse(place, hand.tilted(tilt), arm)
        positions = robot().home_positions.copy()
        positions[hand.arm], positions[hand.hand] = arm, hand.closed
        assert made.phase(scene, RobotState(0.0, positions)) is PourPhase.POUR
        found, rotation = hand.kinematics.forward(arm)
        lip = found + rotation @ made._lip
        assert 0.02 < np.linalg.norm((lip - scene.bowl)[:2]) < 0.05 and lip[2] > 0.10


def test_a_robot_without_a_known_hand_is_refused():
    with pytest.raises(UserError, match="ur5e.yaml: pouring by script needs an arm with the joints of a known hand"):
        PourDemonstrator(load_robot("ur5e"))
    with pytest.raises(UserError, match="inspire.yaml: "):
        PourDemonstrator(load_robot("inspire"))


def test_it_recovers_from_pushes(rollout):
    settings = DisturbanceSettings(probability=1.0, arm_rad=0.03, grip_probability=0.0)
    disturbance = Disturbance(robot(), 1, settings)
    rollout.on_reset = lambda simulation: simulation.place_robot(disturbance.start_positions)
    rollout.change_chunk = disturbance
    assert rollout.run(1, 25.0).success
