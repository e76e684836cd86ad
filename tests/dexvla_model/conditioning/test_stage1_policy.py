"""The stage-1 model as a policy."""

import dataclasses

import numpy as np
import pytest
import torch

from dexvla_model.conditioning import Stage1Policy
from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation
from dexvla_model.policy import InvalidOutput

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture
def policy(make_stage1, tokenizer, statistics, robot):
    return Stage1Policy(make_stage1(3), tokenizer, statistics, robot)


def say(policy, logit: float) -> None:
    with torch.no_grad():
        policy.model.done.weight.zero_()
        policy.model.done.bias.fill_(logit)


def test_the_sub_step_is_the_instruction_until_it_is_done(policy, make_observation):
    observation = make_observation(stamp_s=12.5)
    say(policy, -1.0)
    going = policy.reason(observation, INSTRUCTION)
    assert (going.text, going.finished, going.stamp_s) == (INSTRUCTION, False, 12.5)
    assert going.condition.dtype == np.float32
    assert going.condition.shape == (policy.model.config.expert.condition_width,)
    say(policy, 1.0)
    done = policy.reason(observation, INSTRUCTION, going)
    assert (done.text, done.finished) == ("done", True)


def test_without_a_classifier_it_never_finishes(make_stage1, tokenizer, statistics, robot, make_observation):
    policy = Stage1Policy(make_stage1(3, says_done=False), tokenizer, statistics, robot)
    assert not policy.reason(make_observation(), INSTRUCTION).finished


def test_the_condition_is_that_of_training(policy, tokenizer, robot, make_observation):
    observation = make_observation()
    images = {role: torch.from_numpy(image).unsqueeze(0) for role, image in observation.images.items()}
    with torch.no_grad():
        sentence = policy.model.sentences([INSTRUCTION], tokenizer)
        expected = policy.model.condition(robot.embodiment, images, sentence)
    np.testing.assert_array_equal(
        policy.reason(observation, INSTRUCTION).condition, expected.flatten().numpy()
    )


def test_an_instruction_is_read_once(policy, make_observation):
    read = []
    policy.model.conditioner.sentence_encoder.register_forward_pre_hook(
        lambda module, args: read.append(args[0])
    )
    for seed in range(3):
        policy.reason(make_observation(seed), INSTRUCTION)
    policy.reason(make_observation(), "close the gripper")
    assert read == [[INSTRUCTION], ["close the gripper"]]


def test_a_chunk_starts_at_the_state_and_keeps_the_prefix(policy, make_observation, robot):
    observation = make_observation(stamp_s=3.0)
    substep = policy.reason(observation, INSTRUCTION)
    prefix = observation.state.positions + 0.01 * np.arange(3)[:, None]
    chunk = policy.act(substep, observation.state, prefix)
    assert chunk.stamp_s == observation.state.stamp_s
    assert chunk.joints == robot.action_joints
    assert chunk.positions.shape == (16, len(robot.action))
    assert np.array_equal(chunk.positions[:3], prefix)


def test_reset_makes_the_draws_repeat(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)

    def draws(seed):
        policy.reset(seed)
        return np.stack([policy.act(substep, observation.state).positions for _ in range(2)])

    first = draws(7)
    assert np.array_equal(first, draws(7))
    assert not np.allclose(first, draws(8))


def test_what_no_robot_may_follow_is_refused(policy, make_observation):
    observation = make_observation()
    missing = dataclasses.replace(observation, images={"scene": observation.images["scene"]})
    with pytest.raises(InvalidObservation, match="no image of the camera wrist"):
        policy.reason(missing, INSTRUCTION)
    with pytest.raises(UserError, match="the instruction is empty"):
        policy.reason(observation, " ")
    with torch.no_grad():
        policy.model.conditioner.sentence_in.bias[0] = float("nan")
    with pytest.raises(InvalidOutput, match="condition .* not finite"):
        policy.reason(observation, INSTRUCTION)


def test_it_computes_in_bfloat16(make_stage1, tokenizer, statistics, robot, make_observation):
    policy = Stage1Policy(make_stage1(3).to(torch.bfloat16), tokenizer, statistics, robot)
    exact = Stage1Policy(make_stage1(3), tokenizer, statistics, robot)
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    reference = exact.reason(observation, INSTRUCTION).condition
    assert np.abs(substep.condition - reference).max() < 0.1 * np.abs(reference).max()
    assert np.isfinite(policy.act(substep, observation.state).positions).all()
