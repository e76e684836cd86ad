"""The stage-1 model: what its condition depends on, its losses, and its configuration."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dexvla_model.batch import Batch, TaskText
from dexvla_model.conditioning import Stage1Config, Stage1Model
from dexvla_model.conditioning.stage1 import done_labels, told_sub_steps
from dexvla_model.embodiment import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.training.optimizers import build_optimizers
from dexvla_model.vlm import ImageSize

RED = TaskText("put the red cube in the tray", "move above the cube at 10 20")
DONE = TaskText("put the red cube in the tray", "done")
CLOSE = TaskText("close the gripper", "close the gripper")
SINGLE = Embodiment(EmbodimentConfig(3, 2, 8), {"scene": ImageSize(64, 48), "left-wrist": ImageSize(32, 32)})


def losses(model, batch, tokenizer, seed: int = 3, repeats: int = 2, **options):
    generator = torch.Generator().manual_seed(seed)
    return model.training_loss(batch, tokenizer, generator=generator, repeats=repeats, **options)


def fit(model, batch, tokenizer, steps: int, **options) -> dict[str, torch.Tensor]:
    """Train on one batch with new noise in each step; the last losses."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for step in range(steps):
        result = losses(model, batch, tokenizer, seed=step, sub_step_dropout=1.0, **options)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    return result


def batch_of_single(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(9)
    images = {
        role: torch.randint(
            0, 256, (count, size.height, size.width, 3), dtype=torch.uint8, generator=generator
        )
        for role, size in SINGLE.cameras.items()
    }
    state = torch.randn(count, 3, generator=generator)
    actions = torch.rand(count, 8, 2, generator=generator) * 2 - 1
    return Batch("single", images, None, state, actions, texts=(CLOSE,) * count)


def test_the_condition_has_the_experts_width(make_stage1, make_stage1_batch, tokenizer, robot):
    model, batch = make_stage1(), make_stage1_batch([RED, CLOSE, DONE])
    sentences = model.sentences(["go", "stop", "done"], tokenizer)
    condition = model.condition(robot.embodiment, batch.images, sentences)
    assert condition.shape == (3, 1, model.config.expert.condition_width)
    assert torch.isfinite(condition).all()


@pytest.mark.parametrize("film", [1, 2])
def test_the_text_and_every_camera_reach_the_condition(
    film, make_stage1, make_stage1_batch, tokenizer, robot, stage1_config
):
    """Through the concatenation alone (no FiLM stage) as well as with it."""
    model = make_stage1(image=replace(stage1_config.image, film_from_stage=film))
    batch = make_stage1_batch([RED])
    sentence = model.sentences(["close the gripper"], tokenizer)
    condition = model.condition(robot.embodiment, batch.images, sentence)
    for role in batch.images:
        changed = batch.images | {role: 255 - batch.images[role]}
        assert not torch.allclose(model.condition(robot.embodiment, changed, sentence), condition, atol=1e-4)
    other = model.sentences(["done"], tokenizer)
    assert not torch.allclose(model.condition(robot.embodiment, batch.images, other), condition, atol=1e-4)


def test_gradients_reach_every_part(make_stage1, make_stage1_batch, tokenizer):
    model = make_stage1().train()
    losses(model, make_stage1_batch([RED, DONE]), tokenizer, sub_step_dropout=1.0)["loss"].backward()
    silent = {
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    }
    # A constant added to a whole map moves no keypoint; a constant added to all keys moves no attention.
    expected = {name for name in silent if name.endswith(("keypoint_maps.bias", "k_lin.bias"))}
    assert silent == expected


def test_a_seed_repeats_the_loss(make_stage1, make_stage1_batch, tokenizer):
    model, batch = make_stage1().train(), make_stage1_batch([RED, DONE])
    first, second = losses(model, batch, tokenizer), losses(model, batch, tokenizer)
    assert torch.equal(first["loss"], second["loss"])


def test_it_learns_which_action_an_instruction_means(make_stage1, tokenizer):
    """Same image, same state: only the text tells the two apart."""
    one = Embodiment(EmbodimentConfig(1, 1, 1), {"scene": ImageSize(32, 32)})
    model = make_stage1(std=0.05, embodiments={"one": one})
    images = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).expand(2, -1, -1, -1)
    actions = torch.tensor([0.7, -0.7]).view(2, 1, 1)
    batch = Batch("one", {"scene": images}, None, torch.zeros(2, 1), actions, texts=(CLOSE, RED))
    fit(model, batch, tokenizer, steps=60, repeats=32)
    options = {"sub_step_dropout": 1.0, "repeats": 256}
    right = losses(model.eval(), batch, tokenizer, **options)["action_loss"]
    wrong = losses(model, replace(batch, texts=(RED, CLOSE)), tokenizer, **options)["action_loss"]
    assert right < 0.3
    assert wrong > 3 * right


def test_it_learns_from_the_images_when_the_task_is_done(make_stage1, tokenizer):
    model = make_stage1(std=0.05, embodiments={"single": SINGLE})
    result = fit(model, replace(batch_of_single(), texts=(RED, DONE)), tokenizer, steps=60, done_weight=1.0)
    assert result["done_accuracy"] == 1.0
    assert result["done_loss"] < 0.3


def test_a_model_without_a_done_classifier_has_no_such_loss(make_stage1, make_stage1_batch, tokenizer):
    result = losses(
        make_stage1(says_done=False), make_stage1_batch([RED, DONE]), tokenizer, sub_step_dropout=1.0
    )
    assert result["done_loss"] == 0
    assert torch.equal(result["loss"].detach(), result["action_loss"])


def test_a_told_sub_step_does_not_teach_the_done_classifier(make_stage1_batch):
    texts = (RED, DONE, TaskText("close the gripper"))
    batch = make_stage1_batch(list(texts))
    assert told_sub_steps(batch, 0.0) == list(texts)
    assert done_labels(texts, told_sub_steps(batch, 0.0)).tolist() == [-1, -1, -1]
    silent = told_sub_steps(batch, 1.0)
    assert silent == [TaskText(text.instruction) for text in texts]
    assert done_labels(texts, silent).tolist() == [0, 1, -1]


def test_a_share_of_the_sub_steps_is_dropped(make_stage1_batch):
    batch = replace(make_stage1_batch([RED]), texts=(RED,) * 400)
    told = told_sub_steps(batch, 0.25, torch.Generator().manual_seed(0))
    assert 60 < sum(not text.sub_step for text in told) < 140


def test_a_batch_without_texts_is_a_bug(make_stage1, make_stage1_batch, tokenizer):
    with pytest.raises(ValueError, match="has no texts"):
        losses(make_stage1(), replace(make_stage1_batch([RED]), texts=None), tokenizer)


def test_batches_move_with_their_texts(make_stage1_batch):
    assert make_stage1_batch([RED]).to("cpu").texts == (RED,)


# ------------------------------------------------------------------ several robots
def test_a_robot_is_added_without_touching_the_others(make_stage1, make_stage1_batch, tokenizer, robot):
    model, batch = make_stage1(), make_stage1_batch([RED])
    before = losses(model, batch, tokenizer)["loss"]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.add_embodiment("single", SINGLE)
    added = set(model.state_dict()) - set(weights)
    assert {name.split(".")[2] for name in added} == {"single", "left-wrist_camera"}
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in weights.items())
    assert torch.equal(losses(model, batch, tokenizer)["loss"], before)
    assert set(model.config.embodiments) == {robot.embodiment, "single"}
    # The model with the robot is the one that its own configuration describes.
    assert set(Stage1Model(model.config).state_dict()) == set(model.state_dict())


def test_a_batch_mixes_robots_with_other_cameras_and_sizes(make_stage1, make_stage1_batch, tokenizer):
    model = make_stage1().train()
    model.add_embodiment("single", SINGLE)
    mixed = [make_stage1_batch([RED, DONE]), batch_of_single()]
    result = losses(model, mixed, tokenizer)
    result["loss"].backward()
    assert torch.isfinite(result["loss"])
    for head in model.expert.heads.values():
        assert head.action_out.weight.grad.any()
    for camera in model.conditioner.camera_in.values():
        assert camera.weight.grad.any()


def test_the_u_net_stands_behind_the_same_encoders(make_stage1, make_stage1_batch, tokenizer):
    model = make_stage1(expert=expert_preset("unet-nano")).train()
    result = losses(model, make_stage1_batch([RED, DONE]), tokenizer)
    result["loss"].backward()
    assert model.conditioner.sentence_in.weight.grad.any()


def test_unknown_robots_are_named(make_stage1, make_stage1_batch, robot):
    batch = make_stage1_batch([RED])
    with pytest.raises(UserError, match=f"no embodiment 'other', it has: {robot.embodiment}"):
        make_stage1().condition("other", batch.images, torch.zeros(1, 32))


def test_tables_of_tokens_are_not_orthogonalised(make_stage1):
    """Muon is for maps between hidden states; a table of embeddings is none."""
    model = make_stage1()
    options = SimpleNamespace(
        learning_rate=1e-3,
        muon_learning_rate=0.02,
        part_learning_rates={},
        weight_decay=0.01,
        adam_beta2=0.95,
        adam_epsilon=1e-8,
    )
    adamw, muon = build_optimizers(model, options)
    names = {id(weight): name for name, weight in model.named_parameters()}
    taken = [{names[id(w)] for group in each.param_groups for w in group["params"]} for each in (adamw, muon)]
    assert any("word_embeddings" in name for name in taken[0])
    assert not any("embeddings" in name for name in taken[1])
    assert set.union(*taken) == set(names.values())


# ------------------------------------------------------------------ configuration
@pytest.mark.parametrize("expert", ["scaledp-nano", "unet-nano"])
def test_the_configuration_survives_json(expert, stage1_config):
    config = replace(stage1_config, expert=expert_preset(expert), says_done=False)
    config = replace(config, embodiments=config.embodiments | {"single": SINGLE})
    assert Stage1Config.from_json(json.loads(json.dumps(config.to_json())), "config.json") == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_width", 0, "hidden_width is 0"),
        ("says_done", "yes", "says_done is 'yes'"),
        ("colour", 1, "config.json: key 'colour' is unknown"),
        ("image", {"stem_width": 16}, "config.json: image: key 'hidden_sizes' is missing"),
        ("text", 7, "config.json: text is 7, needed is a table"),
        (
            "embodiments",
            {"a": {"head": {}, "cameras": {}}},
            "config.json: embodiments.a.head: key 'state_size'",
        ),
    ],
)
def test_bad_values_are_named(key, value, message, stage1_config):
    values = stage1_config.to_json() | {key: value}
    with pytest.raises(UserError, match=message):
        Stage1Config.from_json(values, "config.json")


def test_a_robot_without_cameras_is_refused(stage1_config):
    blind = replace(SINGLE, cameras={})
    with pytest.raises(UserError, match="embodiments.single.cameras is empty"):
        replace(stage1_config, embodiments={"single": blind})


def test_a_robot_that_is_refused_leaves_the_model_as_it_was(make_stage1, robot):
    model = make_stage1()
    before = set(model.state_dict())
    odd = replace(SINGLE, cameras=SINGLE.cameras | {"left.wrist": ImageSize(32, 32)})
    with pytest.raises(UserError, match="embodiments.single.cameras: the role 'left.wrist' must be letters"):
        model.add_embodiment("single", odd)
    with pytest.raises(UserError, match="has a head already"):
        model.add_embodiment(robot.embodiment, SINGLE)
    assert set(model.state_dict()) == before
    assert "single" not in model.config.embodiments
