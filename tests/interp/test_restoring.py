"""Cures after training: only what is told moves, heads attend as their donor's, files are ordinary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.measures.decode import answer_tokens
from interp.measures.spans import encode
from interp.models.load_pair import load_pair
from interp.patching.patch import patch
from interp.patching.recording import record
from interp.weight_edits import (
    HeadShape,
    graft,
    graft_heads,
    interpolate,
    interpolate_weights,
    perturb,
    perturb_weights,
    scale_adapter,
    scale_adapter_updates,
    scale_subject_attention,
)
from tests import architectures
from tests.interp.measuring_fixtures import answer_log_probs

IDS = torch.tensor([[1, 7, 9, 5, 8, 6]])


def _model(name: str = "llama", *, seed: int = 0) -> PreTrainedModel:
    model = architectures.build(name, 40, seed=seed)
    model.set_attn_implementation("eager")
    return model


def _patterns(model: PreTrainedModel) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [layer[0] for layer in model(input_ids=IDS, output_attentions=True).attentions]


def _tuned(base: PreTrainedModel) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {name: weight + 0.1 * torch.randn_like(weight) for name, weight in base.state_dict().items()}


def test_interpolation_is_the_straight_line_and_leaves_the_rest_to_the_bit() -> None:
    base = _model().state_dict()
    tuned = _tuned(_model())
    assert all(torch.equal(w, tuned[n]) for n, w in interpolate_weights(base, tuned, 0.0).items())
    assert all(
        torch.allclose(w, base[n], atol=1e-7) for n, w in interpolate_weights(base, tuned, 1.0).items()
    )
    made = interpolate_weights(base, tuned, 0.25, modules=("q_proj", "k_proj"), layers=[1])
    for name, weight in made.items():
        if "layers.1." in name and ("q_proj" in name or "k_proj" in name):
            assert torch.allclose(weight, 0.75 * tuned[name] + 0.25 * base[name], atol=1e-6)
        else:
            assert torch.equal(weight, tuned[name])
    back = interpolate_weights(base, tuned, -1.0)
    assert all(torch.allclose(w, 2 * tuned[n] - base[n], atol=1e-6) for n, w in back.items())


def test_half_precision_is_interpolated_in_float32() -> None:
    base = {"layers.0.mlp.weight": torch.tensor([1.0], dtype=torch.bfloat16)}
    tuned = {"layers.0.mlp.weight": torch.tensor([1.0078125], dtype=torch.bfloat16)}
    made = interpolate_weights(base, tuned, 0.5)["layers.0.mlp.weight"]
    assert made.dtype == torch.bfloat16
    assert made.item() in (1.0, 1.0078125)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modules": ["c_attn"]}, "modules c_attn: the model has none"),
        ({"layers": [7]}, r"layers \[7\]: the model has layers 0 to 1"),
        ({"modules": ["embed_tokens"], "layers": [0]}, "has no such weights; choose modules"),
    ],
)
def test_a_choice_of_nothing_is_refused(change: dict, said: str) -> None:
    state = _model().state_dict()
    with pytest.raises(InputError, match=said):
        interpolate_weights(state, state, 0.5, **change)


def test_weights_that_do_not_correspond_are_refused() -> None:
    state = _model().state_dict()
    name = "model.embed_tokens.weight"
    with pytest.raises(InputError, match="one vocabulary"):
        interpolate_weights({**state, name: state[name][:-1]}, state, 0.5)
    with pytest.raises(InputError, match="only"):
        interpolate_weights({n: w for n, w in state.items() if n != name}, state, 0.5)


def test_the_placebo_moves_each_weight_as_far() -> None:
    base = _model().state_dict()
    tuned = _tuned(_model())
    made = perturb_weights(tuned, base, modules=("q_proj",), seed=3)
    for name, weight in made.items():
        if "q_proj" in name:
            moved, wanted = weight - tuned[name], base[name] - tuned[name]
            assert float(moved.norm()) == pytest.approx(float(wanted.norm()), rel=1e-5)
            assert abs(torch.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0)) < 0.3
        else:
            assert torch.equal(weight, tuned[name])


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gptj"])
def test_grafted_heads_attend_as_the_donor_s_and_others_as_before(name: str) -> None:
    """In the first layer, whose input both models share, patterns are the donor's in grafted heads alone."""
    tuned = _model(name)
    donor = _model(name)
    torch.manual_seed(1)
    with torch.no_grad():
        for part, weight in donor.named_parameters():
            if "q_proj" in part or "k_proj" in part:
                weight += 0.3 * torch.randn_like(weight)
    shape = HeadShape.of(tuned.config)
    assert shape.heads // shape.groups == (1 if name == "gptj" else 2)
    before, theirs = _patterns(tuned)[0], _patterns(donor)[0]
    made = graft_heads(donor.state_dict(), tuned.state_dict(), [(0, 2)], shape)
    tuned.load_state_dict(made)
    now = _patterns(tuned)[0]
    with_it = {head for _, head in shape.with_groups([(0, 2)])}
    assert with_it == ({2} if name == "gptj" else {2, 3}), "heads of one key go together"
    for head in range(shape.heads):
        assert torch.allclose(now[head], (theirs if head in with_it else before)[head], atol=1e-6)
        assert not torch.allclose(before[head], theirs[head], atol=1e-3)


def test_all_heads_grafted_are_w_q_and_w_k_interpolated_whole() -> None:
    base = _model().state_dict()
    tuned = _tuned(_model())
    shape = HeadShape.of(_model().config)
    every = [(layer, head) for layer in range(shape.layers) for head in range(shape.heads)]
    one = graft_heads(base, tuned, every, shape)
    other = interpolate_weights(base, tuned, 1.0, modules=("q_proj", "k_proj"))
    assert all(torch.allclose(one[name], other[name], atol=1e-7) for name in one)


def test_a_head_that_there_is_not_and_fused_projections_are_refused() -> None:
    state, shape = _model().state_dict(), HeadShape.of(_model().config)
    with pytest.raises(
        InputError, match=r"head 9 of layer 0: the model has . heads in each of 2 layers; choose"
    ):
        graft_heads(state, state, [(0, 9)], shape)
    fused = _model("gpt2")
    with pytest.raises(InputError, match="in one"):
        graft_heads(fused.state_dict(), fused.state_dict(), [(0, 0)], HeadShape.of(fused.config))


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture
def saved(tiny_tokenizer, tiny_llama_dir: Path, tmp_path: Path) -> Path:
    """A fine-tuning of the tiny Llama on disk."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    model.load_state_dict(_tuned(model))
    model.save_pretrained(tmp_path / "tuned")
    tiny_tokenizer.save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_the_saved_placebo_lies_as_far_from_the_checkpoint_as_the_cure(
    saved: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    some = {"share": 0.3, "modules": ["q_proj", "k_proj"], "layers": [1]}
    cure = interpolate(tiny_llama_dir, saved, tmp_path / "cure", **some)
    placebo = perturb(tiny_llama_dir, saved, tmp_path / "placebo", **some, seed=1)
    tuned, cured, moved = (load_file(path / "model.safetensors") for path in (saved, cure, placebo))
    for name, weight in tuned.items():
        apart, wanted = float((moved[name] - weight).norm()), float((cured[name] - weight).norm())
        assert apart == pytest.approx(wanted, rel=1e-4)
        assert (apart > 0) == ("layers.1." in name and ("q_proj" in name or "k_proj" in name))
    told = read_json(placebo / "cure.json")
    assert (told["cure"], told["share"], told["seed"]) == ("interpolation's placebo", 0.3, 1)


def test_a_cured_checkpoint_is_read_by_transformers_alone(
    saved: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    base, model = (AutoModelForCausalLM.from_pretrained(path) for path in (tiny_llama_dir, saved))
    tuned = {name: weight.clone() for name, weight in model.state_dict().items()}
    cures = {
        "line": (
            interpolate(tiny_llama_dir, saved, tmp_path / "line", share=0.3, modules=["mlp"], layers=[0]),
            interpolate_weights(base.state_dict(), tuned, 0.3, modules=["mlp"], layers=[0]),
        ),
        "heads": (
            graft(tiny_llama_dir, saved, tmp_path / "heads", heads=[(1, 0)]),
            graft_heads(base.state_dict(), tuned, [(1, 0)], HeadShape.of(model.config)),
        ),
    }
    uncured = _logits(model)
    for out, state in cures.values():
        model.load_state_dict(state)
        alone = AutoModelForCausalLM.from_pretrained(out)
        assert torch.equal(_logits(alone), _logits(model))
        assert not torch.allclose(_logits(alone), uncured, atol=1e-3)
        assert AutoTokenizer.from_pretrained(out)("Ada")["input_ids"]
        assert {file.suffix for file in out.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert read_json(tmp_path / "line" / "cure.json")["share"] == 0.3
    assert read_json(tmp_path / "heads" / "cure.json")["heads"] == [[1, 0], [1, 1]]


def test_a_taken_place_and_an_adapter_in_a_checkpoint_s_are_refused(
    saved: Path, tiny_llama_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is taken"):
        interpolate(tiny_llama_dir, saved, saved, share=0.5)
    with pytest.raises(InputError, match="is an adapter"):
        interpolate(tiny_llama_dir, tiny_adapter_dir, tmp_path / "out", share=0.5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("by", [0.25, {"q_proj": 0.0, "down_proj": 2.0}])
def test_a_scaled_adapter_is_the_line_of_whole_weights(
    by: float | dict[str, float], tiny_llama_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    out = scale_adapter(tiny_adapter_dir, tmp_path / "scaled", by=by)
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    base = {name: weight.clone() for name, weight in plain.state_dict().items()}
    scaled = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama_dir), out)
    whole = PeftModel.from_pretrained(plain, tiny_adapter_dir).merge_and_unload()
    state = whole.state_dict()
    factors = (
        by if isinstance(by, dict) else dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj", "mlp"), by)
    )
    for module, factor in factors.items():
        state = interpolate_weights(base, state, 1 - factor, modules=[module])
    whole.load_state_dict(state)
    assert torch.allclose(_logits(scaled), _logits(whole), atol=1e-4)
    assert read_json(out / "cure.json")["by"] == by


def test_what_does_not_scale_is_refused(
    tiny_llama_dir: Path, tiny_adapter_dir: Path, save_adapter: Callable[..., Path]
) -> None:
    state = load_file(tiny_adapter_dir / "adapter_model.safetensors")
    with pytest.raises(InputError, match="modules wte: the adapter updates none"):
        scale_adapter_updates(state, {"wte": 2.0})
    with pytest.raises(InputError, match=r"layers \[9\]: .*; choose from 0, 1"):
        scale_adapter_updates(state, 2.0, layers=[9])
    dora = load_file(save_adapter(tiny_llama_dir, use_dora=True) / "adapter_model.safetensors")
    with pytest.raises(InputError, match="does not scale"):
        scale_adapter_updates(dora, 2.0)
    one = scale_adapter_updates(state, 0.0, layers=[0])
    assert {n for n in state if not torch.equal(one[n], state[n])} == {
        n for n in state if "lora_B" in n and "layers.0." in n
    }


def test_scaled_attention_multiplies_and_renormalises_in_the_heads_named(
    tiny_llama_dir: Path, prompts
) -> None:
    pair = load_pair(str(tiny_llama_dir))
    batch = encode(pair.tokenizer, prompts[:6])
    answers = [p.answers[0] for p in batch.prompts]
    assert answers
    with pair.base() as model:
        rows = record(model, batch, "pattern")
        none = patch(model, batch, [scale_subject_attention(1.0)], pair.tokenizer, max_new_tokens=0)
        one = patch(
            model, batch, [scale_subject_attention(4.0, heads=[(0, 1)])], pair.tokenizer, max_new_tokens=0
        )
        by_hand = _last_row_scaled(model, batch, rows, pair.tokenizer)
    assert torch.allclose(none.log_prob, none.clean[None], atol=1e-5)
    assert torch.allclose(one.log_prob[0], by_hand, atol=1e-4)
    assert not torch.allclose(one.log_prob[0], one.clean, atol=1e-3)
    for wrong in ({"by": 0.0}, {"by": 2.0, "heads": []}):
        with pytest.raises(InputError):
            scale_subject_attention(**wrong)


def _last_row_scaled(model, batch, rows, tokenizer) -> torch.Tensor:
    """Compute the same under a plain hook: head 1 of layer 0, times 4 on the subject, renormalised."""
    del rows

    def scale(pattern, hook):  # type: ignore[no-untyped-def]
        pattern = pattern.clone()
        for i, last in enumerate(batch.last.tolist()):
            row = pattern[i, 1, last]
            row[: batch.subject_mask.shape[1]][batch.subject_mask[i]] *= 4.0
            pattern[i, 1, last] = row / row.sum()
        return pattern

    hooks = [("blocks.0.attn.hook_pattern", scale)]
    return answer_log_probs(model, batch, answer_tokens(tokenizer, batch), hooks=hooks)
