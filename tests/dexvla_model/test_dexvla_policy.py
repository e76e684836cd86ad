"""DexVLA as a policy: reasoning, acting, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch

from dexvla_model.dexvla_policy import DexVLAPolicy
from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation
from dexvla_model.policy import InvalidOutput, SubStep

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture
def policy(make_model, tokenizer, statistics, robot):
    return DexVLAPolicy(make_model(3), tokenizer, statistics, robot)


def overfit(policy, prompt, batch, most_steps=300):
    """Train the policy's model on one batch until it says the batch's sub-steps."""
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=2e-3)
    for _ in range(most_steps):
        result = policy.model(batch, prompt, repeats=1)
        if result["language_loss"] < 0.1:
            return
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    raise AssertionError("the model did not learn two sentences")


def test_a_sub_step_carries_the_stamp_and_a_condition(policy, make_observation):
    substep = policy.reason(make_observation(stamp_s=12.5), INSTRUCTION)
    assert substep.stamp_s == 12.5
    assert substep.condition.shape == (policy.model.config.expert.condition_width,)
    assert substep.condition.dtype == np.float32


def test_previous_never_changes_the_answer(policy, make_observation):
    for seed in range(4):
        observation = make_observation(seed)
        fresh = policy.reason(observation, INSTRUCTION)
        again = policy.reason(observation, INSTRUCTION, fresh)
        other = policy.reason(observation, INSTRUCTION, dataclasses.replace(fresh, text="close the gripper"))
        for substep in (again, other):
            assert substep.text == fresh.text
            np.testing.assert_allclose(substep.condition, fresh.condition, rtol=1e-3, atol=1e-4)


def test_it_says_what_it_was_taught_and_finishes_with_done(
    make_model, tokenizer, statistics, robot, make_batch, make_observation
):
    policy = DexVLAPolicy(make_model(3, std=0.05), tokenizer, statistics, robot)
    prompt = policy.model.prompt(tokenizer, robot.embodiment)
    batch = make_batch(prompt, [INSTRUCTION, "go"], ["close the gripper", "done"])
    for images in batch.images.values():
        images[1] = images[0]  # only the instruction tells the two apart
    overfit(policy, prompt, batch)
    observation = make_observation()
    closing = policy.reason(observation, INSTRUCTION)
    assert (closing.text, closing.finished) == ("close the gripper", False)
    done = policy.reason(observation, "go", closing)
    assert (done.text, done.finished) == ("done", True)


def test_the_condition_is_that_of_training(policy, tokenizer, robot, make_observation):
    """Teacher-forced over the text that was said, the fusion gives the same condition."""
    observation = make_observation()
    reasoning = policy.decode(observation, INSTRUCTION)
    substep = policy.reason(observation, INSTRUCTION)
    model, prompt = policy.model, policy.model.prompt(tokenizer, robot.embodiment)
    prompt_ids = prompt.prompt_ids(INSTRUCTION)
    ends = reasoning.hidden_states.shape[1] - len(prompt_ids) - len(reasoning.ids)
    assert ends == 1 or len(reasoning.ids) == model.config.max_reasoning_tokens
    ids = torch.tensor([prompt_ids + reasoning.ids + [prompt.end_id] * ends])
    images = {role: torch.from_numpy(image).unsqueeze(0) for role, image in observation.images.items()}
    with torch.no_grad():
        seen = model.vlm.encode_images(images)
        hidden = model.vlm.read(ids, seen, prompt.image_slots, prompt.position_ids(ids.shape[1]))
        is_prompt = torch.arange(ids.shape[1]).unsqueeze(0) < len(prompt_ids)
        condition = model.fusion(hidden, is_prompt, ~is_prompt)
    np.testing.assert_allclose(substep.condition, condition[0, 0].numpy(), rtol=1e-3, atol=1e-4)


def test_a_chunk_starts_at_the_state_with_the_robots_joints_and_rate(policy, make_observation, robot):
    observation = make_observation(stamp_s=3.0)
    chunk = policy.act(policy.reason(observation, INSTRUCTION), observation.state)
    assert chunk.stamp_s == observation.state.stamp_s
    assert chunk.step_s == pytest.approx(1 / robot.rates.action_hz)
    assert chunk.joints == robot.action_joints
    assert chunk.positions.shape == (16, len(robot.action))
    assert chunk.positions.dtype == np.float64


def test_relative_joints_stay_within_reach_of_the_state(policy, make_observation, robot):
    """Whatever the expert says, the arm stays within the range of motion that the data had from its state."""
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    chunk = policy.act(substep, observation.state)
    reach = policy.statistics.action_max[:6].numpy()
    least = policy.statistics.action_min[:6].numpy()
    offset = chunk.positions[:, :6] - observation.state.positions[:6]
    assert (offset <= reach + 1e-6).all()
    assert (offset >= least - 1e-6).all()


def test_the_prefix_comes_back_exactly(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    prefix = observation.state.positions + 0.01 * np.arange(3)[:, None]
    chunk = policy.act(substep, observation.state, prefix)
    assert np.array_equal(chunk.positions[:3], prefix)
    assert np.array_equal(
        policy.act(substep, observation.state, np.repeat(prefix, 10, axis=0)).positions[:3],
        np.repeat(prefix, 10, axis=0)[:3],
    )


def test_reset_makes_the_draws_repeat(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)

    def draws(seed):
        policy.reset(seed)
        return np.stack([policy.act(substep, observation.state).positions for _ in range(2)])

    first = draws(7)
    assert np.array_equal(first, draws(7))
    assert not np.allclose(first, draws(8))
    assert not np.allclose(first[0], first[1])


def test_a_condition_that_is_not_finite_is_refused(policy, make_observation):
    with torch.no_grad():
        policy.model.fusion.reasoning_film.shift_fc.bias[0] = float("nan")
    with pytest.raises(InvalidOutput, match="condition .* not finite"):
        policy.reason(make_observation(), INSTRUCTION)


def test_what_is_not_finite_is_named(policy, make_observation):
    with torch.no_grad():
        policy.model.vlm.qwen.model.language_model.norm.weight[3] = float("inf")
    with pytest.raises(InvalidOutput, match="the weight vlm.qwen.model.language_model.norm.weight"):
        policy.reason(make_observation(), INSTRUCTION)


def test_a_chunk_that_is_not_finite_is_refused_with_the_weight_that_made_it(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    with torch.no_grad():
        policy.model.expert.blocks[1].mlp.fc2.bias[3] = float("nan")
    with pytest.raises(InvalidOutput, match="chunk .* not finite; .* the weight expert.blocks.1.mlp.fc2.bias"):
        policy.act(substep, observation.state)


def test_a_condition_or_state_that_is_not_finite_is_refused_before_the_expert_runs(
    policy, make_observation, robot
):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTION)
    bad = substep.condition.copy()
    bad[5] = np.nan
    with pytest.raises(InvalidOutput, match="condition is not finite: its value 5 of 64 is nan"):
        policy.act(dataclasses.replace(substep, condition=bad), observation.state)
    positions = observation.state.positions.copy()
    positions[2] = np.inf
    with pytest.raises(InvalidObservation, match=f"joint {robot.state_joints[2]} of the state has the value inf"):
        policy.act(substep, dataclasses.replace(observation.state, positions=positions))


def test_a_condition_of_another_model_is_refused(policy, make_observation):
    with pytest.raises(InvalidOutput, match=r"condition has shape \(3,\)"):
        policy.act(SubStep("done", np.zeros(3, np.float32), 0.0), make_observation().state)


def test_bad_images_are_refused(policy, make_observation):
    observation = make_observation()
    missing = dataclasses.replace(observation, images={"scene": observation.images["scene"]})
    with pytest.raises(InvalidObservation, match="no image of the camera wrist"):
        policy.reason(missing, INSTRUCTION)
    small = dict(observation.images) | {"wrist": observation.images["wrist"][:28]}
    with pytest.raises(InvalidObservation, match=r"camera wrist has shape \(28, 84, 3\)"):
        policy.reason(dataclasses.replace(observation, images=small), INSTRUCTION)


def test_an_instruction_beyond_the_context_is_refused(policy, make_observation):
    with pytest.raises(UserError, match="max_position_embeddings of 512 leaves room for 500 .*: shorten it"):
        policy.reason(make_observation(), "put it there and " * 200)
