"""Statistics and the way to normalised values and back."""

import json

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics, load_statistics, relative_to_state, save_statistics

# Two arm joints relative to states 1 and 0, a gripper that stays absolute.
RELATIVE_TO = (1, 0, -1)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(50, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.5]) + 1
    chunks = torch.randn(50, 4, 3, generator=generator) * 0.2
    chunks[..., :2] += states[:, None, [1, 0]]
    return states, chunks


def test_states_become_standard(data):
    states, chunks = data
    normalised = Statistics.measure(states, chunks, None, RELATIVE_TO).normalise_state(states)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(0, unbiased=False), torch.ones(3))


def test_actions_fill_the_range_that_the_sampler_clips_to(data):
    states, chunks = data
    normalised = Statistics.measure(states, chunks, None, RELATIVE_TO).normalise_actions(chunks, states)
    torch.testing.assert_close(normalised.amax((0, 1)), torch.ones(3))
    torch.testing.assert_close(normalised.amin((0, 1)), -torch.ones(3))


def test_there_and_back_again(data):
    states, chunks = (x.double() for x in data)
    statistics = Statistics.measure(states, chunks, None, RELATIVE_TO)
    back = statistics.denormalise_actions(statistics.normalise_actions(chunks, states), states)
    torch.testing.assert_close(back, chunks, rtol=0, atol=1e-12)


def test_relative_dimensions_forget_where_the_arm_is(data):
    states, chunks = data
    statistics = Statistics.measure(states, chunks, None, RELATIVE_TO)
    moved = states + torch.tensor([0.4, -0.7, 0.1])
    moved_chunks = chunks + torch.tensor([-0.7, 0.4, 0.0])
    torch.testing.assert_close(
        statistics.normalise_actions(moved_chunks, moved),
        statistics.normalise_actions(chunks, states),
        atol=1e-5,
        rtol=0,
    )


def test_several_chunks_of_one_observation_each_have_their_own_state(data):
    states, chunks = data
    statistics = Statistics.measure(states, chunks, None, RELATIVE_TO)
    together = statistics.normalise_actions(chunks.view(25, 2, 4, 3), states.view(25, 2, 3))
    torch.testing.assert_close(together.flatten(0, 1), statistics.normalise_actions(chunks, states))


def test_a_dimension_that_never_changed_becomes_zero_and_comes_back_as_its_value(data):
    states, chunks = data
    states[:, 2] = 0.3
    chunks[..., 2] = 0.8
    statistics = Statistics.measure(states, chunks, None, RELATIVE_TO)
    assert not statistics.normalise_state(states)[:, 2].any()
    assert not statistics.normalise_actions(chunks, states)[..., 2].any()
    # Whatever the expert says about it.
    back = statistics.denormalise_actions(torch.ones(1, 4, 3), states[:1])
    torch.testing.assert_close(back[..., 2], torch.full((1, 4), 0.8))


def test_padded_rows_do_not_count(data):
    states, chunks = data
    is_pad = torch.zeros(50, 4, dtype=torch.bool)
    is_pad[:, 3] = True
    with_outliers = chunks.clone()
    with_outliers[:, 3] = 1e3
    measured = Statistics.measure(states, with_outliers, is_pad, RELATIVE_TO)
    expected = Statistics.measure(states, chunks[:, :3], None, RELATIVE_TO)
    assert torch.equal(measured.action_max, expected.action_max)


def test_data_that_is_not_finite_is_refused(data):
    states, chunks = data
    chunks[3, 1, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        Statistics.measure(states, chunks, None, RELATIVE_TO)


def test_the_robot_file_says_what_is_relative(robot):
    assert relative_to_state(robot) == (0, 1, 2, 3, 4, 5, -1)


def test_statistics_survive_the_file(data, tmp_path):
    statistics = Statistics.measure(*data, None, RELATIVE_TO)
    save_statistics(tmp_path / "statistics.json", {"arm": statistics})
    loaded = load_statistics(tmp_path / "statistics.json")["arm"]
    assert torch.equal(loaded.action_min, statistics.action_min)
    assert torch.equal(loaded.state_std, statistics.state_std)
    assert loaded.relative_to == RELATIVE_TO


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"state_mean": "no"}, "arm.state_mean"),
        ({"action_min": [0.0, float("nan"), 0.0]}, "arm.action_min"),
        ({"state_std": [1.0]}, "different lengths"),
        ({"relative_to": [0, 1]}, "arm.relative_to"),
        ({"relative_to": [0, 1, 9]}, "arm.relative_to"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(data, tmp_path, change, named):
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps({"arm": Statistics.measure(*data, None, RELATIVE_TO).to_json() | change}))
    with pytest.raises(UserError, match=named):
        load_statistics(path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "statistics.json").write_text("{")
    with pytest.raises(UserError, match="statistics.json cannot be read"):
        load_statistics(tmp_path / "statistics.json")
