"""Every architecture: parity with the plain model, adapters on one copy, and whether edits act."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.measures.spans import encode
from interp.models.edit_check import InterventionError, layers_that_act, require_edits
from interp.models.load_pair import load_pair
from interp.models.pair import CheckpointPair
from tests.architectures import ARCHITECTURES, EDITABLE, LAYERS, READ_ONLY, build

WEIGHTS = ("W_Q", "W_K", "W_V", "W_O")


@dataclass
class Adapted:
    """A checkpoint with an adapter on it, and the pair they load as."""

    base: Path
    adapter: Path
    pair: CheckpointPair


@pytest.fixture(scope="module")
def adapted(tiny_model: Callable[[str], Path], save_adapter: Callable[..., Path]):
    """Load each architecture's pair once."""

    @cache
    def load(name: str) -> Adapted:
        base = tiny_model(name)
        adapter = save_adapter(base)
        return Adapted(base=base, adapter=adapter, pair=load_pair(base, adapter))

    return load


def plain_log_probs(model: torch.nn.Module, batch) -> torch.Tensor:
    """Log-probs at real tokens by plain HF code: one prompt at a time, no padding, no mask."""
    rows = []
    with torch.inference_mode():
        for ids, last in zip(batch.input_ids, batch.last.tolist(), strict=True):
            rows.append(model(input_ids=ids[None, : last + 1]).logits[0].float().log_softmax(-1))
    return torch.cat(rows)


def hooked_log_probs(model, batch) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    return logits[batch.attention_mask.bool()].float().log_softmax(-1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_sides_equal_the_plain_models(name: str, adapted, tiny_tokenizer, prompts) -> None:
    """The bridge on a padded batch equals HF on single prompts; merged weights equal PEFT's merge."""
    from peft import PeftModel

    base, adapter, pair = adapted(name).base, adapted(name).adapter, adapted(name).pair
    batch = encode(tiny_tokenizer, prompts)
    assert pair.provenance["copies"] == 1
    assert max(pair.provenance["base_parity"], pair.provenance["finetuned_parity"]) <= 1e-4

    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    base_log_probs = plain_log_probs(plain, batch)
    unmerged = PeftModel.from_pretrained(plain, adapter).eval()
    finetuned_log_probs = plain_log_probs(unmerged, batch)
    merged = load_pair(unmerged.merge_and_unload(), tokenizer=tiny_tokenizer)
    alone = load_pair(base)
    assert (base_log_probs - finetuned_log_probs).abs().max() > 0.1
    with pair.base() as model, alone.base() as other:
        assert (hooked_log_probs(model, batch) - base_log_probs).abs().max() <= 1e-4
        for weight in WEIGHTS:
            assert torch.equal(getattr(model, weight), getattr(other, weight)), weight
    with pair.finetuned() as model, merged.base() as other:
        assert (hooked_log_probs(model, batch) - finetuned_log_probs).abs().max() <= 1e-4
        for weight in WEIGHTS:
            torch.testing.assert_close(getattr(model, weight), getattr(other, weight), msg=weight)
        for layer in range(LAYERS):
            torch.testing.assert_close(model.blocks[layer].mlp.W_out, other.blocks[layer].mlp.W_out)
    with pair.base() as model:
        assert (hooked_log_probs(model, batch) - base_log_probs).abs().max() <= 1e-4


@pytest.mark.parametrize("name", EDITABLE)
def test_edits_act(name: str, adapted) -> None:
    pair = adapted(name).pair
    assert pair.provenance["edits_act"]
    with pair.base() as model:
        assert layers_that_act(model).all()
        require_edits(model)


@pytest.mark.parametrize("name", READ_ONLY)
def test_where_edits_are_thrown_away_it_is_said(name: str, adapted) -> None:
    pair = adapted(name).pair  # measuring still works
    assert not pair.provenance["edits_act"]
    assert pair.provenance["layers_without_edits"] == list(range(LAYERS))
    with pair.base() as model, pytest.raises(InterventionError, match="measured but not intervened on"):
        require_edits(model)


def test_one_dead_layer_is_enough_to_refuse(tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with load_pair(tiny_llama_dir).base() as model:
        point = model.blocks[1].attn.hook_pattern
        add = point.add_hook
        monkeypatch.setattr(point, "add_hook", lambda _, **rest: add(lambda value, hook: None, **rest))
        assert layers_that_act(model).tolist() == [True, False]
        with pytest.raises(InterventionError, match=r"layers \[1\]"):
            require_edits(model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", EDITABLE)
def test_half_precision(
    name: str, dtype: str, tiny_model: Callable[[str], Path], tiny_tokenizer, prompts
) -> None:
    """The hooked model is as close to float32 as the plain one in that precision is."""
    base = tiny_model(name)
    pair = load_pair(base, dtype=dtype)
    batch = encode(tiny_tokenizer, prompts[:4])
    exact = plain_log_probs(AutoModelForCausalLM.from_pretrained(base), batch)
    plain = plain_log_probs(AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)), batch)
    with pair.base() as model:
        found = hooked_log_probs(model, batch)
        assert str(model.cfg.dtype) == f"torch.{dtype}"
    assert (found - exact).abs().max() <= 3 * (plain - exact).abs().max() + 1e-4


def test_roundings_add_up_over_many_layers(tiny_tokenizer, tmp_path: Path) -> None:
    """This bridge sums in another order than the plain model: a deep one must not be refused for it."""
    build("falcon", len(tiny_tokenizer), num_hidden_layers=32).save_pretrained(tmp_path)
    for dtype, least in (("float16", 1e-4), ("float32", 0)):
        provenance = load_pair(tmp_path, dtype=dtype, tokenizer=tiny_tokenizer).provenance
        assert provenance["base_parity"] > least
    assert provenance["base_parity"] <= 1e-4


def test_grouped_queries_read_their_own_key_value_head(tiny_llama_dir: Path) -> None:
    """Editing key-value head 0 moves the first half of the query heads (h // 2), and only those."""
    with load_pair(tiny_llama_dir).base() as model:
        ids = torch.arange(3, 10)[None]
        seen = []

        def zero(value: torch.Tensor, hook: object) -> torch.Tensor:
            edited = value.clone()
            edited[:, :, 0] = 0
            return edited

        for hooks in ([], [("blocks.0.attn.hook_v", zero)]):
            z = {}
            keep = ("blocks.0.attn.hook_z", lambda value, hook, z=z: z.update(z=value.clone()))
            with torch.inference_mode():
                model.run_with_hooks(ids, fwd_hooks=[*hooks, keep], use_cache=False)
            seen.append(z["z"].unflatten(-1, (4, -1)) if z["z"].ndim == 3 else z["z"])
        moved = (seen[0] != seen[1]).flatten(0, 1).any(-1).any(0)
        assert moved.tolist() == [True, True, False, False]


def test_sliding_windows_and_softcaps_are_on_in_the_tiny_models(tiny_tokenizer) -> None:
    """Without them the table above would say little."""
    for name in ("mistral", "gemma2", "gemma3"):
        ids = torch.arange(3, 15)[None]
        narrow = build(name, len(tiny_tokenizer))(input_ids=ids).logits
        wide = build(name, len(tiny_tokenizer), sliding_window=64)(input_ids=ids).logits
        assert not torch.allclose(narrow, wide, atol=1e-3), name


def test_the_table_in_the_docs_says_what_is_measured(adapted) -> None:
    """Write the table anew with FACTSCOPE_WRITE_DOCS=1; digits of parity may differ between machines."""
    page = Path(__file__).parents[2] / "docs" / "architectures.md"
    head, rule = "| architecture | parity, base | parity, LoRA | attention edits act |", "|---|---|---|---|"
    rows = []
    for name in ARCHITECTURES:
        told = adapted(name).pair.provenance
        acts = "yes" if told["edits_act"] else "no: interventions are refused"
        rows.append(f"| {name} | {told['base_parity']:.0e} | {told['finetuned_parity']:.0e} | {acts} |")
    if os.environ.get("FACTSCOPE_WRITE_DOCS"):
        before, _, after = page.read_text().partition(head)
        kept = [line for line in after.splitlines() if not line.startswith("|")]
        page.write_text("\n".join([f"{before}{head}", rule, *rows, *kept]) + "\n")
    written = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    measured = [row.split("|") for row in rows]
    assert [(w[1], w[4]) for w in written] == [(m[1], m[4]) for m in measured]
    assert all(float(number) <= 1e-4 for w in (*written, *measured) for number in w[2:4])
