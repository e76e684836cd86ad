"""How the sampler's settings are stored with a model."""

import pytest

from dexvla_model.errors import UserError
from dexvla_model.expert import SamplingConfig, read_sampling


def test_settings_are_read_from_a_table():
    table = {"system": "", "sampling": {"solver": "dpm++", "steps": 5, "noise_scale": 0.5}}
    read = read_sampling(table, "config.json")
    assert read == {"system": "", "sampling": SamplingConfig(solver="dpm++", steps=5, noise_scale=0.5)}
    assert table["sampling"] == {"solver": "dpm++", "steps": 5, "noise_scale": 0.5}


def test_a_table_without_settings_means_the_defaults():
    assert read_sampling({}, "config.json") == {"sampling": SamplingConfig()}


def test_checkpoints_that_know_only_the_noise_still_load():
    assert read_sampling({"sampling_noise": 0.0}, "config.json") == {
        "sampling": SamplingConfig(noise_scale=0.0)
    }


@pytest.mark.parametrize(
    "table, named",
    [
        ({"sampling": {"solver": "heun"}}, "sampling.solver is 'heun'"),
        ({"sampling": {"speed": 3}}, "config.json: sampling: key 'speed' is unknown"),
        ({"sampling": 10}, "config.json: sampling"),
        ({"sampling": {}, "sampling_noise": 0.5}, "both given"),
    ],
)
def test_a_wrong_table_is_named(table, named):
    with pytest.raises(UserError, match=named):
        read_sampling(table, "config.json")
