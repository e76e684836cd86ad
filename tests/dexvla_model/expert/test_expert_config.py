"""Sizes of experts: presets, JSON, and what is refused."""

import json
from dataclasses import asdict

import pytest

from dexvla_model.errors import UserError
from dexvla_model.expert import (
    EXPERT_PRESETS,
    EmbodimentConfig,
    ScaleDP,
    ScaleDPConfig,
    UNet,
    UNetConfig,
    expert_config_from_json,
    expert_from_config,
    expert_preset,
)


@pytest.mark.parametrize("name", EXPERT_PRESETS)
def test_a_configuration_survives_json(name):
    values = json.loads(json.dumps(asdict(EXPERT_PRESETS[name])))
    assert expert_config_from_json(values, "config.json: expert") == EXPERT_PRESETS[name]


def test_a_file_that_knows_no_kinds_holds_a_scaledp():
    values = asdict(EXPERT_PRESETS["scaledp-nano"])
    del values["kind"]
    assert expert_config_from_json(values, "config.json: expert") == EXPERT_PRESETS["scaledp-nano"]


@pytest.mark.parametrize(("name", "kind"), [("scaledp-nano", ScaleDP), ("unet-nano", UNet)])
def test_the_kind_decides_what_is_built(name, kind):
    expert = expert_from_config(expert_preset(name), {"arm": EmbodimentConfig(7, 6, 8)})
    assert type(expert) is kind
    assert expert.config == EXPERT_PRESETS[name]


def test_fields_of_a_preset_can_be_replaced():
    assert expert_preset("unet", condition_width=2048).condition_width == 2048
    assert expert_preset("scaledp-l", depth=2) == ScaleDPConfig(2, 1024, 16, 1536)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "mlp"}, "config.json: expert: kind is 'mlp', allowed are scaledp, unet"),
        ({"kind": "unet", "depth": 3}, "config.json: expert: key 'depth' is unknown, allowed are widths"),
        ({"kind": "unet", "widths": [8, 8]}, "config.json: expert: key 'condition_width' is missing"),
        ({"depth": 3}, "config.json: expert: key 'width' is missing"),
        ([], r"config.json: expert is \[\], needed is a table"),
    ],
)
def test_bad_json_names_file_and_key(values, message):
    with pytest.raises(UserError, match=message):
        expert_config_from_json(values, "config.json: expert")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScaleDPConfig(depth=2, width=64, heads=5, condition_width=8), "expert.heads is 5"),
        (lambda: ScaleDPConfig(depth=0, width=64, heads=4, condition_width=8), "depth is 0"),
        (lambda: ScaleDPConfig(2, 64, 4, 8, kind="unet"), "expert.kind is 'unet'"),
        (lambda: EmbodimentConfig(7, 7, 0), "horizon is 0"),
        (lambda: EmbodimentConfig(7, 7.0, 4), "action_size is 7.0"),
        (lambda: UNetConfig(widths=(8, 12), condition_width=8), "widths holds 12, .* multiples .* 8"),
        (lambda: UNetConfig(widths=(8,), condition_width=8), "at least two widths"),
        (lambda: UNetConfig(widths="88", condition_width=8), "at least two widths"),
        (lambda: UNetConfig(widths=(8, 16), condition_width=8, kernel_size=4), "kernel_size is 4"),
        (lambda: UNetConfig(widths=(8, 16), condition_width=8, time_width=7), "time_width is 7"),
        (lambda: expert_preset("big"), "'big' is unknown, allowed are .*scaledp-h.*unet"),
        (lambda: expert_preset("unet", depth=3), "expert preset 'unet': key 'depth' is unknown"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
