"""What every expert promises of its heads: a robot is a head, and nothing but a head."""

import copy

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, diffusion_loss, expert_from_config, expert_preset

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)
HAND = EmbodimentConfig(state_size=20, action_size=16, horizon=13)


@pytest.fixture
def expert(kind, make_expert):
    return make_expert(kind, {"arm": ARM})


@pytest.fixture
def trained(expert, make_inputs):
    """An expert and its optimizer after some steps on the arm."""
    optimizer = torch.optim.AdamW(expert.parameters(), lr=1e-3)
    actions, _, condition, state = make_inputs(ARM)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        diffusion_loss(expert, actions, condition, state, "arm", generator=generator).backward()
        optimizer.step()
    return expert.eval()


@torch.no_grad()
def test_a_new_head_touches_nothing_else(trained, make_inputs):
    before = copy.deepcopy(trained.state_dict())
    noise = trained(*make_inputs(ARM), "arm")
    trained.add_embodiment("hand", HAND)
    after = trained.state_dict()
    added = {name for name in after if name not in before}
    assert added and all(name.startswith("heads.hand.") for name in added)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert list(after)[: len(before)] == list(before)
    assert torch.equal(trained(*make_inputs(ARM), "arm"), noise)
    assert trained(*make_inputs(HAND), "hand").shape == (3, 13, 16)


def test_a_head_that_was_added_equals_one_that_was_there_from_the_start(kind, make_expert):
    added = make_expert(kind, {"arm": ARM})
    added.add_embodiment("hand", HAND)
    together = make_expert(kind, {"arm": ARM, "hand": HAND})
    assert list(together.state_dict()) == list(added.state_dict())
    together.load_state_dict(added.state_dict())
    assert added.embodiments == together.embodiments == {"arm": ARM, "hand": HAND}


def test_training_one_robot_leaves_the_heads_of_others_alone(trained, make_inputs):
    trained.add_embodiment("hand", HAND)
    trained(*make_inputs(ARM), "arm").square().mean().backward()
    trunk = [name for name, weight in trained.named_parameters() if not name.startswith("heads.")]
    weights = dict(trained.named_parameters())
    assert all(weights[name].grad is not None for name in trunk)
    assert all(weight.grad is not None for weight in trained.heads["arm"].parameters())
    assert all(weight.grad is None for weight in trained.heads["hand"].parameters())


def test_a_new_head_has_the_type_and_device_of_the_trunk(expert):
    expert.to(torch.bfloat16).add_embodiment("hand", HAND)
    assert {weight.dtype for weight in expert.heads["hand"].parameters()} == {torch.bfloat16}


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 8])
def test_a_chunk_may_be_shorter_than_the_heads_horizon(expert, make_inputs, rows):
    assert expert(*make_inputs(ARM, rows=rows), "arm").shape == (3, rows, 6)


@torch.no_grad()
def test_every_input_changes_the_noise(expert, make_inputs):
    x, t, condition, state = make_inputs(ARM)
    noise = expert(x, t, condition, state, "arm")
    later = (t + 50) % 100
    for changed in (
        (x + 1, t, condition, state),
        (x, later, condition, state),
        (x, t, condition.flip(1), state),
        (x, t, condition, state + 1),
    ):
        assert not torch.allclose(expert(*changed, "arm"), noise)


@torch.no_grad()
def test_a_condition_may_carry_a_token_axis(expert, make_inputs):
    x, t, condition, state = make_inputs(ARM)
    torch.testing.assert_close(
        expert(x, t, condition.unsqueeze(1), state, "arm"), expert(x, t, condition, state, "arm")
    )


@torch.no_grad()
def test_several_states_share_the_condition(expert, make_inputs):
    _, _, condition, _ = make_inputs(ARM)
    states = torch.randn(3, 4, 7)
    together = expert.embed_condition(condition, states, "arm")
    single = torch.stack([expert.embed_condition(condition, states[:, k], "arm") for k in range(4)], dim=1)
    torch.testing.assert_close(together, single)


@torch.no_grad()
def test_modulations_of_many_steps_come_out_of_one_batch(expert, make_inputs):
    """What a sampler relies on: steps (3, 1) and conditions (2,) broadcast, and no sample sees another."""
    x, _, condition, state = make_inputs(ARM, count=2)
    t = torch.tensor([90, 40, 0])
    time = expert.embed_time(t).unsqueeze(1)
    c = expert.combine_time(time, expert.embed_condition(condition, state, "arm"))
    assert c.shape[:2] == (3, 2)
    of_steps = [m.unflatten(0, (3, 2)) for m in expert.modulations(c.flatten(0, 1))]
    for i in range(3):
        noise = expert.denoise(x, [m[i] for m in of_steps], "arm")
        expected = expert(x, t[i].expand(2), condition, state, "arm")
        torch.testing.assert_close(noise, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_expert_is_built_without_memory_and_filled_from_weights(expert, kind, make_inputs):
    with torch.device("meta"):
        empty = expert_from_config(expert_preset(kind), {"arm": ARM})
    assert all(weight.is_meta for weight in empty.parameters())
    assert list(empty.buffers()) == []
    empty.load_state_dict(expert.state_dict(), assign=True)
    assert torch.equal(empty(*make_inputs(ARM), "arm"), expert(*make_inputs(ARM), "arm"))


def test_it_trains_under_bfloat16(expert, make_inputs):
    actions, t, condition, state = make_inputs(ARM)
    arguments = {"noise": torch.randn_like(actions), "t": t}
    exact = diffusion_loss(expert, actions, condition, state, "arm", **arguments)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = diffusion_loss(expert, actions, condition, state, "arm", **arguments)
    rounded.backward()
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0)


# ---------------------------------------------------------------------- bad input
def test_an_unknown_embodiment_is_named_with_those_that_are_there(expert, make_inputs):
    with pytest.raises(UserError, match="no head for embodiment 'dog', it has: arm"):
        expert(*make_inputs(ARM), "dog")


@pytest.mark.parametrize("name", ["arm", "Arm", "an arm", "", "arm.left"])
def test_a_bad_or_taken_name_of_an_embodiment_is_refused(expert, name):
    with pytest.raises(UserError, match="embodiment"):
        expert.add_embodiment(name, ARM)
    assert list(expert.embodiments) == ["arm"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": (3, 63)}, r"condition has shape \(3, 63\), expected is \(B, 64\) or \(B, 1, 64\)"),
        ({"condition": (3, 2, 64)}, r"condition has shape \(3, 2, 64\)"),
        ({"state": (3, 6)}, r"state has shape \(3, 6\), expected is \(3, 7\)"),
        ({"state": (2, 7)}, r"state has shape \(2, 7\), expected is \(3, 7\)"),
        ({"x": (3, 8, 7)}, r"actions of embodiment 'arm' have shape \(3, 8, 7\), expected is \(N, T, 6\)"),
        ({"x": (3, 9, 6)}, r"actions of embodiment 'arm' have shape \(3, 9, 6\), .* horizon 8"),
        ({"x": (3, 0, 6)}, r"T from 1 to"),
    ],
)
def test_a_wrong_width_says_which_tensor_found_and_expected(expert, make_inputs, changes, message):
    x, t, condition, state = make_inputs(ARM)
    tensors = {"x": x, "condition": condition, "state": state}
    tensors |= {name: torch.zeros(shape) for name, shape in changes.items()}
    with pytest.raises(UserError, match=message):
        expert(tensors["x"], t, tensors["condition"], tensors["state"], "arm")


def test_time_steps_or_states_of_another_count_are_refused(expert, make_inputs):
    x, t, condition, state = make_inputs(ARM)
    with pytest.raises(UserError, match=r"t has shape \(2,\), expected is \(3,\)"):
        expert(x, t[:2], condition, state, "arm")
    with pytest.raises(UserError, match=r"state has shape \(3, 1, 7\), expected is \(3, 7\)"):
        expert(x, t, condition, state.unsqueeze(1), "arm")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"state": (3, 2, 7)}, r"actions of embodiment 'arm' has shape \(3, 8, 6\)"),
        ({"actions": (3, 2, 8, 6), "state": (3, 3, 7)}, r"state .*\(3, 3, 7\), expected is \(3, 2, 'S'\)"),
        ({"condition": (2, 64)}, r"condition of embodiment 'arm' has shape \(2, 64\), expected is \(3, C\)"),
        ({"noise": (2, 8, 6)}, r"noise of embodiment 'arm' has shape \(2, 8, 6\), expected is \(3, 8, 6\)"),
        ({"t": (6,)}, r"t of embodiment 'arm' has shape \(6,\), expected is \(3,\)"),
        ({"is_pad": (3, 7)}, r"is_pad of embodiment 'arm' has shape \(3, 7\), expected is \(3, 8\)"),
        ({"actions": (3, 9, 6)}, r"actions .* \(3, 9, 6\), .* horizon 8"),
        ({"actions": (3, 8, 5)}, r"actions .* \(3, 8, 5\), expected is \(N, T, 6\)"),
    ],
)
def test_a_training_batch_that_does_not_fit_is_refused(expert, shapes, message):
    shapes = {"actions": (3, 8, 6), "condition": (3, 64), "state": (3, 7)} | shapes
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(UserError, match=message):
        diffusion_loss(expert, embodiment="arm", **tensors)
