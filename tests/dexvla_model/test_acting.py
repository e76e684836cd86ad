"""Acting with rows that are known beforehand, in rad."""

import numpy as np
import pytest

from dexvla_model.acting import ExpertActor
from dexvla_model.expert import SamplingConfig
from dexvla_model.policy import InvalidOutput, SubStep


@pytest.fixture
def substep(model_config):
    condition = np.random.default_rng(0).normal(size=model_config.expert.condition_width)
    return SubStep("reach", condition.astype(np.float32), 1.0)


@pytest.fixture
def make_actor(make_model, statistics, robot):
    def make(continuity: str = "guided", **settings) -> ExpertActor:
        expert = make_model(3, std=0.02).expert
        actor = ExpertActor(
            expert, statistics, robot, SamplingConfig(continuity=continuity, **settings), "small"
        )
        actor.reset(5)
        return actor

    return make


@pytest.fixture
def state(make_observation):
    return make_observation().state


def wanted_rows(state, count, offset_rad=0.05):
    return np.repeat(state.positions[None] + offset_rad, count, axis=0)


def test_scheduled_rows_pull_when_guided_and_only_then(make_actor, substep, state):
    prefix, scheduled = wanted_rows(state, 2), wanted_rows(state, 3)
    away = {}
    for continuity in ("none", "inpaint", "guided"):
        positions = make_actor(continuity).act(substep, state, prefix, scheduled).positions
        np.testing.assert_array_equal(positions[:2], prefix)
        away[continuity] = np.abs(positions[2:5] - scheduled)[:, :6].mean()
        alone = make_actor(continuity).act(substep, state, prefix).positions
        assert np.array_equal(alone, positions) == (continuity != "guided")
    assert away["guided"] < away["inpaint"]


def test_no_rows_are_the_same_as_none(make_actor, substep, state):
    empty = np.empty((0, len(state.positions)))
    np.testing.assert_array_equal(
        make_actor().act(substep, state, empty, empty).positions, make_actor().act(substep, state).positions
    )


def test_rows_beyond_the_chunk_are_left_out(make_actor, substep, state):
    horizon = len(make_actor().act(substep, state).positions)
    long = make_actor().act(substep, state, wanted_rows(state, 2), wanted_rows(state, 100)).positions
    fitting = (
        make_actor().act(substep, state, wanted_rows(state, 2), wanted_rows(state, horizon - 2)).positions
    )
    np.testing.assert_array_equal(long, fitting)


def test_fewer_steps_are_configuration(make_actor, substep, state):
    actor = make_actor(solver="dpm++", steps=5)
    assert np.isfinite(actor.act(substep, state).positions).all()


@pytest.mark.parametrize("name", ["prefix", "scheduled"])
def test_rows_that_are_not_finite_are_refused(make_actor, substep, state, name):
    rows = wanted_rows(state, 2)
    rows[1, 0] = np.nan
    with pytest.raises(InvalidOutput, match=f"the {name} "):
        make_actor().act(substep, state, **{name: rows})
