"""Pathways: exact Shapley values, groups of weights told apart by what they do, grafts undone to the bit."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from finetune.common.errors import InputError
from interp.measures.shapley import all_subsets, shapley_values, values_alone
from interp.models.merging import merge
from interp.weight_edits import (
    GROUPS,
    changed_groups,
    graft_groups,
    parameters_of,
    perturb_weights,
    random_donor,
    weight_groups,
    with_weights,
)
from tests import architectures

IDS = torch.tensor([[1, 7, 9, 5, 8, 6]])
SUBSETS = all_subsets(len(GROUPS))


def _in_all_orders(outcomes: np.ndarray) -> np.ndarray:
    """Average marginal contributions over all orders of joining: the definition."""
    players = len(outcomes).bit_length() - 1
    place = {tuple(member): i for i, member in enumerate(all_subsets(players).tolist())}
    values = np.zeros((players, *outcomes.shape[1:]))
    orders = list(permutations(range(players)))
    for order in orders:
        there = [False] * players
        for player in order:
            before = outcomes[place[tuple(there)]]
            there[player] = True
            values[player] += (outcomes[place[tuple(there)]] - before) / len(orders)
    return values


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_shapley_values_are_the_mean_over_all_orders(players: int) -> None:
    outcomes = np.random.default_rng(players).normal(size=(2**players, 5))
    found = shapley_values(outcomes)
    assert np.allclose(found, _in_all_orders(outcomes))
    assert np.allclose(found.sum(0), outcomes[-1] - outcomes[0]), "efficiency"


def test_additive_games_dummies_and_symmetric_players() -> None:
    worth = np.array([0.5, -0.2, 0.0, 0.1])
    additive = SUBSETS @ worth + 0.3
    assert np.allclose(shapley_values(additive), worth)
    assert np.allclose(values_alone(additive), worth)
    both = (SUBSETS[:, 1] & SUBSETS[:, 2]).astype(float)  # neither helps alone; the others are dummies
    assert np.allclose(shapley_values(both), [0, 0.5, 0.5, 0])
    assert np.allclose(values_alone(both), 0)
    with pytest.raises(ValueError, match="2\\^n"):
        shapley_values(np.zeros(6))


def _logits(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, use_cache=False).logits


@pytest.fixture(params=architectures.ARCHITECTURES)
def models(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A base, and a model of other weights throughout."""
    made = [architectures.build(request.param, 40, seed=seed) for seed in (0, 1)]
    return made[0], made[1]


def test_all_groups_are_the_base_and_none_the_tuned_model(
    models: tuple[PreTrainedModel, PreTrainedModel],
) -> None:
    base, tuned = models
    labels, donor, own = weight_groups(base), parameters_of(base), parameters_of(tuned)
    before, pointers = _logits(tuned), {n: w.data_ptr() for n, w in own.items()}
    kept = {name: weight.clone() for name, weight in own.items()}
    with with_weights(tuned, graft_groups(donor, own, labels, GROUPS)):
        assert torch.equal(_logits(tuned), _logits(base))
    with with_weights(tuned, graft_groups(donor, own, labels, ())):
        assert torch.equal(_logits(tuned), before)
    with pytest.raises(KeyError), with_weights(tuned, graft_groups(donor, own, labels, ("mlp",))):
        raise KeyError
    after = parameters_of(tuned)
    assert {name: weight.data_ptr() for name, weight in after.items()} == pointers
    assert all(torch.equal(after[name], weight) for name, weight in kept.items())


def test_groups_do_what_they_are_called(models: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    """W_Q and W_K alone move attention in the first layer, W_V and W_O and the MLP there do not."""
    base, tuned = models
    labels, donor, own = weight_groups(base), parameters_of(base), parameters_of(tuned)
    tuned.set_attn_implementation("eager")

    def first_pattern(groups: tuple[str, ...]) -> Tensor:
        with torch.inference_mode(), with_weights(tuned, graft_groups(donor, own, labels, groups)):
            return tuned(input_ids=IDS, output_attentions=True, use_cache=False).attentions[0]

    plain = first_pattern(())
    assert torch.equal(first_pattern(("vo", "mlp")), plain)
    assert not torch.allclose(first_pattern(("qk",)), plain, atol=1e-3)
    with torch.inference_mode(), with_weights(tuned, graft_groups(donor, own, labels, ("qk",))):
        alone = tuned(input_ids=IDS[:, :1], use_cache=False).logits
    assert torch.equal(alone, tuned(input_ids=IDS[:, :1], use_cache=False).logits), "one token sees itself"
    rows = dict.fromkeys(range(len(GROUPS)), 0)
    for name, weight in own.items():
        for group in rows:
            rows[group] += int((labels[name] == group).expand_as(weight).sum())
    assert all(rows.values())
    assert sum(rows.values()) == sum(weight.numel() for weight in own.values()), "each weight has one group"


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "gpt_neox", "phi3", "falcon", "bloom"])
def test_rows_of_fused_projections_are_those_of_their_layout(name: str) -> None:
    model = architectures.build(name, 40)
    labels = {k.rpartition("layers.0.")[2] or k: v for k, v in weight_groups(model).items()}
    width, heads = architectures.WIDTH, architectures.HEADS
    each = torch.arange(3).repeat_interleave(width // heads).repeat(heads) // 2  # q, k, v of every head
    wanted = {
        "llama": ("self_attn.k_proj.weight", torch.zeros(1)),
        "qwen3": ("self_attn.q_norm.weight", torch.zeros(1)),
        "gpt2": ("transformer.h.0.attn.c_attn.weight", torch.arange(3 * width) // (2 * width)),
        "gpt_neox": ("attention.query_key_value.bias", each),
        "phi3": ("self_attn.qkv_proj.weight", torch.arange(2 * width) // (width + width // 2)),
        "falcon": ("transformer.h.0.self_attention.query_key_value.weight", None),
        "bloom": ("transformer.h.0.self_attention.query_key_value.weight", each),
    }
    place, rows = wanted[name]
    if rows is None:  # several queries share one key and one value, which come last
        rows = (torch.arange(width + 2 * width // heads) >= width + width // heads).long()
    assert torch.equal(labels[place].flatten(), rows.long())


@pytest.mark.parametrize("tied", [True, False])
def test_the_placebo_moves_every_tensor_as_far_and_keeps_ties(tied: bool) -> None:
    base, tuned = (architectures.build("gpt2", 40, seed=s, tie_word_embeddings=tied) for s in (0, 1))
    labels, donor, own = weight_groups(base), parameters_of(base), parameters_of(tuned)
    name = "transformer.h.0.attn.c_attn.weight"
    donor = {**donor, "transformer.h.0.mlp.c_fc.weight": own["transformer.h.0.mlp.c_fc.weight"]}
    placebo = random_donor(donor, own, labels, seed=3)
    for key, weight in own.items():
        assert torch.allclose((placebo[key] - weight).norm(), (donor[key] - weight).norm(), rtol=1e-4)
    rows = (labels[name] == 0).expand_as(own[name])
    moved = [(other[name] - own[name])[rows].norm() for other in (placebo, donor)]
    assert torch.allclose(*moved, rtol=1e-4), "rows of one group too"
    ends = placebo["transformer.wte.weight"], placebo["lm_head.weight"]
    assert torch.equal(*ends) is tied
    again = random_donor(donor, own, labels, seed=3)
    assert all(torch.equal(again[key], weight) for key, weight in placebo.items())


@pytest.mark.parametrize("size", [5e-4, 2e-3, 1e-1])
def test_a_placebo_goes_as_far_in_bfloat16_where_small_steps_round_away(size: float) -> None:
    """It went a tenth as far."""
    model = architectures.build("llama", 40)
    own = {name: weight.bfloat16() for name, weight in parameters_of(model).items()}
    noise = torch.Generator().manual_seed(0)
    donor = {
        name: (
            w.float() + size * w.float().std(unbiased=False) * torch.randn(w.shape, generator=noise)
        ).bfloat16()
        for name, w in own.items()
    }
    for placebo in (random_donor(donor, own, weight_groups(model)), perturb_weights(own, donor)):
        far, away = (
            torch.stack([(other[n].float() - w.float()).norm() for n, w in own.items()])
            for other in (placebo, donor)
        )
        assert torch.allclose(far, away, rtol=0.02)
        assert all(placebo[name].dtype == torch.bfloat16 for name in own)


def test_a_merged_adapter_on_tied_embeddings_is_grafted_group_by_group() -> None:
    """The merged head is untied from the embeddings, and yet all groups give the tied base to the bit."""
    base = architectures.build("llama", 40, tie_word_embeddings=True)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "up_proj", "embed_tokens"])
    adapted = get_peft_model(architectures.build("llama", 40, tie_word_embeddings=True), config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    expected = _logits(adapted)  # type: ignore[arg-type]
    tuned = merge(adapted, "adapter")  # type: ignore[arg-type]
    labels, donor, own = weight_groups(base), parameters_of(base), parameters_of(tuned)
    assert torch.allclose(_logits(tuned), expected, atol=1e-4)
    with with_weights(tuned, graft_groups(donor, own, labels, GROUPS)):
        assert torch.equal(_logits(tuned), _logits(base))
    assert changed_groups(donor, own, labels) == set(GROUPS)
    assert changed_groups(graft_groups(donor, own, labels, ("vo",)), donor, labels) == set(GROUPS) - {"vo"}
    made = graft_groups(donor, own, labels, ("embeddings",))
    assert torch.equal(made["lm_head.weight"], made["model.embed_tokens.weight"])
    assert torch.equal(made["model.layers.0.mlp.up_proj.weight"], own["model.layers.0.mlp.up_proj.weight"])
    with with_weights(base, own):  # a tied model takes untied weights
        assert torch.equal(_logits(base), _logits(tuned))


def test_what_cannot_be_grafted_is_refused() -> None:
    base = architectures.build("llama", 40)
    labels, own = weight_groups(base), parameters_of(base)
    with pytest.raises(InputError, match="choose from qk, vo, mlp, embeddings"):
        graft_groups(own, own, labels, ("heads",))
    with pytest.raises(InputError, match="in one of the two"):
        graft_groups({**own, "more": torch.ones(1)}, own, labels, ("qk",))
    with pytest.raises(InputError, match="no attention modules"):
        weight_groups(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name and shape"), with_weights(base, {"odd": torch.ones(1)}):
        pass
