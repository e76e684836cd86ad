"""The training file: what loads, what an override changes, what a mistake is answered with."""

import pytest

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.training.config import load_training_config
from dexvla_model.training.schedules import learning_rate_scale

SHIPPED = find_resource("config/training/pick_place_tiny.yaml")


def test_the_shipped_file_loads():
    config = load_training_config(SHIPPED)
    assert [choice.robot for choice in config.robots] == ["ur5e"]
    assert config.initial_checkpoint is None
    assert config.model.vlm == "tiny"


def test_an_override_replaces_a_key():
    config = load_training_config(SHIPPED, ["optimization.steps=7", "datasets=[a, b]", "model.text={num_hidden_layers: 2}"])
    assert config.optimization.steps == 7
    assert [str(choice.folder) for choice in config.robots[0].datasets] == ["a", "b"]
    assert config.model.text == {"num_hidden_layers": 2}


def test_a_power_of_ten_without_a_point_is_a_number():
    assert load_training_config(SHIPPED, ["optimization.learning_rate=1e-4"]).optimization.learning_rate == 1e-4


def test_a_run_starts_from_a_checkpoint_that_ships_by_its_name():
    config = load_training_config(SHIPPED, ["initial_checkpoint=tabletop_tiny"])
    assert config.initial_checkpoint == find_resource("checkpoints/tabletop_tiny")
    stage2 = find_resource("config/training/stage2.yaml")
    config = load_training_config(stage2, ["model.vlm_checkpoint=tabletop_tiny"])
    assert config.model.vlm_checkpoint == find_resource("checkpoints/tabletop_tiny")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimization.steps", "expected key.subkey=value"),
        ("optimization.steps=0", "optimization.steps is 0"),
        ("optimization.step=5", "optimization.step is no known key"),
        ("optimization.schedule=linear", "allowed are cosine, constant"),
        ("robot.name=ur5e", "robot is no group of keys"),
        ("optimization.learning_rate=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(override, expected):
    with pytest.raises(UserError, match=expected):
        load_training_config(SHIPPED, [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.yaml.*--config"):
        load_training_config(tmp_path / "none.yaml")


def test_the_learning_rate_warms_up_then_falls():
    optimization = load_training_config(SHIPPED, ["optimization.steps=1000", "optimization.warmup_steps=100"]).optimization
    scales = [learning_rate_scale(optimization, step) for step in range(1000)]
    assert scales[0] == pytest.approx(0.01)
    assert max(scales) == scales[100] == pytest.approx(1.0)
    assert scales[-1] == pytest.approx(0.02, abs=1e-3)


def test_a_constant_schedule_stays_at_its_peak():
    optimization = load_training_config(SHIPPED, ["optimization.schedule=constant", "optimization.warmup_steps=0"]).optimization
    assert learning_rate_scale(optimization, 0) == learning_rate_scale(optimization, 10**6) == 1.0
