"""The model that says actions: it learns, and training and decoding compute the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dexvla_model.baselines.action_decoding import ActionDecoder
from dexvla_model.baselines.action_tokens import ActionTokensConfig
from dexvla_model.baselines.action_tokens_policy import ActionTokensPolicy
from dexvla_model.baselines.bins import from_bins, to_bins
from dexvla_model.checkpoint import Checkpoint, load_policy, save_checkpoint
from dexvla_model.errors import UserError
from dexvla_model.observation import RobotState
from dexvla_model.policy import InvalidOutput

INSTRUCTIONS = ["put the red cube in the tray", "close the gripper"]
KNOTS = [0, 4, 8, 12, 15]


@pytest.fixture
def batch(make_action_tokens, tokenizer, robot, make_batch):
    prompt = make_action_tokens().prompt(tokenizer, robot.embodiment)
    return make_batch(prompt, INSTRUCTIONS, ["move above the cube", "done"], chunks=2), prompt


@pytest.fixture
def decoder(make_action_tokens, tokenizer, robot):
    model = make_action_tokens(3)
    return ActionDecoder(model, model.prompt(tokenizer, robot.embodiment), robot.embodiment)


def of(images, index):
    return {role: batch[index : index + 1] for role, batch in images.items()}


# ---------------------------------------------------------------------- training


def test_a_few_observations_are_learned_by_heart_and_said_again(make_action_tokens, batch, robot):
    batch, prompt = batch
    model = make_action_tokens().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        losses = model(batch, prompt)
        losses["loss"].backward()
        optimizer.step()
    assert losses["action_accuracy"] == 1.0
    assert losses["action_error"] == 0.0
    decoder = ActionDecoder(model.eval(), prompt, robot.embodiment)
    for i, instruction in enumerate(INSTRUCTIONS):
        for k in range(2):
            knots = decoder.decode(of(batch.images, i), instruction, batch.state[i, k : k + 1])
            expected = batch.actions[i, k, KNOTS]
            assert torch.equal(to_bins(knots, 256), to_bins(expected, 256))
            assert (knots - expected).abs().max() <= 1 / 256 + 1e-6


def test_chunks_of_one_observation_do_not_see_each_other(make_action_tokens, batch):
    """Two chunks behind each prompt, the prompts of different lengths, against every one alone."""
    batch, prompt = batch
    model = make_action_tokens(1)
    together = model(batch, prompt)["loss"]
    alone = []
    for i, instruction in enumerate(INSTRUCTIONS):
        for k in range(2):
            single = replace(
                batch,
                images=of(batch.images, i),
                tokens=prompt.encode([instruction], ["something else"]),
                state=batch.state[i : i + 1, k],
                actions=batch.actions[i : i + 1, k],
            )
            alone.append(model(single, prompt)["loss"])
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-5, atol=1e-5)


def test_rows_behind_the_end_of_an_episode_do_not_count(make_action_tokens, batch):
    batch, prompt = batch
    model = make_action_tokens(1)
    is_pad = torch.zeros(2, 2, 16, dtype=torch.bool)
    is_pad[:, :, 9:] = True
    padded = replace(batch, is_pad=is_pad)
    other = padded.actions.clone()
    other[:, :, 9:] = 0.5
    expected = model(padded, prompt)["loss"]
    torch.testing.assert_close(model(replace(padded, actions=other), prompt)["loss"], expected)
    assert abs(model(batch, prompt)["loss"] - expected) > 1e-4


def test_mixed_parts_count_by_their_tokens(make_action_tokens, batch):
    batch, prompt = batch
    model = make_action_tokens(1)
    torch.testing.assert_close(
        model([batch, batch], [prompt, prompt])["loss"], model(batch, prompt)["loss"]
    )


# ---------------------------------------------------------------------- decoding


@torch.no_grad()
def test_decoding_says_what_training_finds_most_likely(decoder, batch):
    """Greedy decoding against one pass of the training code over its own answer."""
    batch, prompt = batch
    images, state = of(batch.images, 0), batch.state[0, :1]
    knots = decoder.decode(images, INSTRUCTIONS[0], state)
    chunk = torch.from_numpy(np.stack([np.interp(range(16), KNOTS, column) for column in knots.numpy().T], 1))
    said = replace(
        batch, images=images, tokens=prompt.encode(INSTRUCTIONS[:1], [""]), state=state, actions=chunk[None]
    )
    assert decoder.model(said, prompt)["action_accuracy"] == 1.0


def test_decoding_depends_on_images_state_and_instruction(decoder, batch):
    batch, _ = batch
    state = batch.state[0, :1]
    said = decoder.decode(of(batch.images, 0), INSTRUCTIONS[0], state)
    assert said.shape == (len(KNOTS), batch.actions.shape[-1])
    assert not torch.equal(decoder.decode(of(batch.images, 1), INSTRUCTIONS[0], state), said)
    assert not torch.equal(decoder.decode(of(batch.images, 0), INSTRUCTIONS[1], state), said)
    assert not torch.equal(decoder.decode(of(batch.images, 0), INSTRUCTIONS[0], 3 * state + 1), said)


def test_packed_weights_say_the_same(make_action_tokens, decoder, tokenizer, robot, batch):
    batch, prompt = batch
    said = decoder.decode(of(batch.images, 0), INSTRUCTIONS[0], batch.state[0, :1])
    packed = ActionDecoder(make_action_tokens(3), prompt, robot.embodiment)
    packed.pack()
    assert torch.equal(packed.decode(of(batch.images, 0), INSTRUCTIONS[0], batch.state[0, :1]), said)


# ---------------------------------------------------------------------- the policy


@pytest.fixture
def policy(make_action_tokens, tokenizer, statistics, robot):
    return ActionTokensPolicy(make_action_tokens(3), tokenizer, statistics, robot)


def test_the_chunk_starts_where_the_plan_is_by_now(policy, make_observation, robot):
    observation = make_observation(stamp_s=5.0)
    substep = policy.reason(observation, INSTRUCTIONS[0])
    assert (substep.text, substep.finished, substep.stamp_s) == (INSTRUCTIONS[0], False, 5.0)
    plan = substep.condition.reshape(len(KNOTS), -1).astype(float)
    now = policy.act(substep, observation.state)
    assert now.positions.shape == (16, len(robot.action))
    assert now.joints == robot.action_joints
    np.testing.assert_allclose(now.positions[KNOTS], plan)
    step_s = 1 / robot.rates.action_hz
    later = policy.act(substep, RobotState(5.0 + 4 * step_s, observation.state.positions))
    np.testing.assert_allclose(later.positions[:12], now.positions[4:], atol=1e-9)
    np.testing.assert_allclose(later.positions[12:], plan[[-1] * 4])


def test_committed_rows_stay_and_the_rest_leads_back_to_the_plan(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTIONS[0])
    free = policy.act(substep, observation.state).positions
    prefix = free[:3] + 0.1
    bound = policy.act(substep, observation.state, prefix).positions
    assert np.array_equal(bound[:3], prefix)
    np.testing.assert_allclose(bound[3:7] - free[3:7], np.outer([0.08, 0.06, 0.04, 0.02], np.ones(7)))
    np.testing.assert_allclose(bound[7:], free[7:])


def test_a_condition_of_another_policy_is_refused(policy, make_observation):
    observation = make_observation()
    substep = policy.reason(observation, INSTRUCTIONS[0])
    with pytest.raises(InvalidOutput, match="plan has shape"):
        policy.act(replace(substep, condition=np.zeros(64, np.float32)), observation.state)
    with pytest.raises(InvalidOutput, match="not finite"):
        policy.act(replace(substep, condition=substep.condition * np.nan), observation.state)


def test_it_is_saved_and_loaded_like_every_checkpoint(
    make_action_tokens, tokenizer, statistics, robot, make_observation, tmp_path
):
    model = make_action_tokens(3)
    checkpoint = Checkpoint(model, tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot})
    save_checkpoint(tmp_path / "tokens", checkpoint)
    loaded = load_policy(tmp_path / "tokens", robot)
    assert (type(loaded), loaded.name) == (ActionTokensPolicy, "tokens")
    observation = make_observation()
    policy = ActionTokensPolicy(model, tokenizer, statistics, robot)
    expected = policy.reason(observation, INSTRUCTIONS[0]).condition
    assert np.array_equal(loaded.reason(observation, INSTRUCTIONS[0]).condition, expected)


# ---------------------------------------------------------------------- what is refused


def test_action_tokens_must_not_be_the_tokenizers_own(action_tokens_config):
    with pytest.raises(UserError, match="bins is 100000, but of the vocabulary"):
        replace(action_tokens_config, bins=100_000)
    with pytest.raises(UserError, match="row_stride is 0"):
        replace(action_tokens_config, row_stride=0)
    values = action_tokens_config.to_json()
    assert ActionTokensConfig.from_json(values, "config.json") == action_tokens_config
    with pytest.raises(UserError, match="config.json: key 'size' is unknown"):
        ActionTokensConfig.from_json(values | {"size": 3}, "config.json")


def test_a_prompt_that_does_not_fit_the_context_is_refused(decoder, batch):
    batch, _ = batch
    with pytest.raises(UserError, match="max_position_embeddings has 512"):
        decoder.decode(of(batch.images, 0), "move above the cube " * 150, batch.state[0, :1])


def test_bins_and_their_values_are_those_of_the_configuration(make_action_tokens):
    model = make_action_tokens()
    assert model.action_rows().shape == (256, model.config.vlm.width)
    assert model.first_action_id + 256 == model.config.vocabulary_size
    assert from_bins(torch.tensor([0, 255]), 256).tolist() == pytest.approx([-255 / 256, 255 / 256])
