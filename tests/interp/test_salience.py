"""The value readout as part of an exact identity, on a model with a closed form, and m against autograd."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from einops import einsum
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from interp.measures import score_gradient
from interp.measures.attention import last_row_patterns, row_mass
from interp.measures.decode import answer_tokens
from interp.measures.head_readers import is_norm, read_sources, readers, through_norm
from interp.measures.score_gradient import HarmScore, direct_path_score, harm_score
from interp.measures.spans import PromptBatch, encode
from interp.measures.value_readout import ValueReadout, value_readout
from tests.architectures import ARCHITECTURES
from tests.interp import measuring_fixtures as tiny

NAMES = tiny.FEW


@cache
def one_layer() -> TransformerBridge:
    """One layer of two heads, attention only, no norms, biases or positions: the setting of the theory."""
    config = {
        "n_layers": 1,
        "n_heads": 2,
        "d_model": 16,
        "d_head": 8,
        "n_ctx": 32,
        "d_vocab": len(tiny.tokenizer()),
        "attn_only": True,
        "normalization_type": None,
        "act_fn": "relu",
        "seed": 0,
    }
    model = TransformerBridge.boot_native(config, tokenizer=tiny.tokenizer())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4 * (parameter.ndim > 1)
    model.pos_embed.W_pos.data.zero_()
    return model.eval()


def _other_terms(model: TransformerBridge, batch: PromptBatch, scale: Tensor) -> Tensor:
    """Return what everything but the heads adds to the logits: embedding, MLPs, and every bias."""
    fact, layers = torch.arange(len(batch)), range(model.cfg.n_layers)
    names = ("hook_resid_pre", "hook_resid_post", "hook_attn_out")
    wanted = [f"blocks.{layer}.{name}" for layer in layers for name in names]
    with torch.inference_mode():
        _, cache = model.run_with_cache(
            batch.input_ids, attention_mask=batch.attention_mask, names_filter=wanted, use_cache=False
        )
    at_last = {name: cache[name][fact, batch.last] for name in wanted}
    terms = at_last["blocks.0.hook_resid_pre"]
    for layer in layers:
        pre, post, heads = (at_last[f"blocks.{layer}.{name}"] for name in names)
        gain = getattr(model.blocks[layer], "residual_contribution_scale", 1.0)
        bias = model.blocks[layer].attn.o.bias
        terms = terms + post - pre - heads + (0 if bias is None else gain * bias)
    norm = model.ln_final
    shift = getattr(norm, "bias", None) if is_norm(norm) and not norm.uses_rms_norm else None
    constant = model.b_U + (0 if shift is None else shift @ model.W_U)
    return terms @ through_norm(norm, model.W_U.T).T / scale[:, None] + constant


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_heads_and_the_other_terms_add_up_to_the_logits(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    with torch.inference_mode():
        sources = read_sources(model, batch)
        heads = torch.zeros_like(sources.logits)
        for layer in range(model.cfg.n_layers):
            reader = readers(model, layer, model.W_U.T)
            read = einsum(sources.everything[:, layer], reader, "fact head d, token head d -> fact token")
            heads += read / sources.scale(layer)[:, None]
        total = heads + _other_terms(model, batch, sources.final_scale)
    assert heads.std() > 1e-3
    torch.testing.assert_close(total, sources.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sources_split_into_chosen_ones_and_the_others(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    subject, rest = read_sources(model, batch), read_sources(model, batch, ~batch.subject_mask)
    torch.testing.assert_close(subject.used + rest.used, subject.everything)
    mass = row_mass(last_row_patterns(model, batch), batch.subject_mask)
    torch.testing.assert_close(subject.mass, mass)


def test_stored_on_the_one_layer_model_is_the_factual_salience() -> None:
    """stored = phi(a)^T W_V phi(s), summed over the subject's tokens, less its mean over the answer set."""
    model, batch = one_layer(), tiny.batch()
    result = value_readout(model, batch, tiny.tokenizer(), tiny.ANSWERS)
    with torch.no_grad():
        w_v = einsum(model.W_V[0], model.W_O[0], "head d_in d, head d d_out -> head d_in d_out")
        salience = einsum(model.W_E, w_v, model.W_U, "s i, head i o, o a -> s head a")
    firsts = [ids[0] for ids in answer_tokens(tiny.tokenizer(), batch)]
    answers = dict(zip([p.answers[0] for p in batch.prompts], firsts, strict=True))
    for row, prompt in enumerate(batch.prompts):
        subject = batch.input_ids[row][batch.subject_mask[row]]
        of_set = salience[subject][..., [answers[a] for a in tiny.ANSWERS[prompt.relation]]].sum(0)
        gold = salience[subject][..., answers[prompt.answers[0]]].sum(0)
        torch.testing.assert_close(result.stored[row, 0], gold - of_set.mean(-1), atol=1e-5, rtol=1e-5)
        assert result.stored_total_rank[row] == (of_set.sum(0) > gold.sum()).sum()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", ["first", "mean"])
def test_readout_is_the_slow_one_by_one_computation(name: str, tokens: str) -> None:
    model, batch, tokenizer = tiny.both(name).hooked, tiny.batch(), tiny.tokenizer()
    result = value_readout(model, batch, tokenizer, tiny.ANSWERS, tokens=tokens, batch_tokens=30)
    with torch.inference_mode():
        _, cache = model.run_with_cache(batch.input_ids, attention_mask=batch.attention_mask)
    row, layer, head = 7, 1, 3
    last, prompt = int(batch.last[row]), batch.prompts[row]
    n_kv = cache["blocks.1.attn.hook_v"].shape[2]
    values = cache["blocks.1.attn.hook_v"][row, :, head // (4 // n_kv)]
    pattern = cache["blocks.1.attn.hook_pattern"][row, head, last]
    resid = cache[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"][row, last]
    prompts = [replace(prompt, answers=(a,)) for a in tiny.ANSWERS[prompt.relation]]
    ids = answer_tokens(tokenizer, encode(tokenizer, prompts))
    gold = tiny.ANSWERS[prompt.relation].index(prompt.answers[0])
    for kind, weights in (("stored", torch.ones_like(pattern)), ("used", pattern)):
        chosen = batch.subject_mask[row]
        out = (weights[chosen, None] * values[chosen]).sum(0) @ model.blocks[layer].attn.W_O[head]
        read = out @ through_norm(model.ln_final, model.W_U.T).T / _scale(model, resid)
        readings = torch.stack([read[list(i) if tokens == "mean" else [i[0]]].mean() for i in ids])
        expected = readings[gold] - readings.mean()
        assert getattr(result, kind)[row, layer, head].item() == pytest.approx(expected.item(), abs=1e-5)
        rank = int((readings > readings[gold]).sum())
        assert getattr(result, f"{kind}_rank")[row, layer, head] == rank


def _scale(model: TransformerBridge, resid: Tensor) -> Tensor:
    centred = resid if model.ln_final.uses_rms_norm else resid - resid.mean()
    return (centred.pow(2).mean() + model.cfg.eps).sqrt()


def test_totals_are_sums_over_heads_and_chunks_do_not_matter() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    whole = value_readout(model, batch, tokenizer, tiny.ANSWERS)
    torch.testing.assert_close(whole.stored_total, whole.stored.sum((1, 2)))
    torch.testing.assert_close(whole.used_total, whole.used.sum((1, 2)))
    parts = value_readout(model, batch, tokenizer, tiny.ANSWERS, batch_tokens=1)
    torch.testing.assert_close(parts.stored, whole.stored, atol=1e-5, rtol=1e-5)
    assert torch.equal(parts.used_total_rank, whole.used_total_rank)
    assert whole.candidates.tolist() == [len(tiny.ANSWERS[p.relation]) for p in batch.prompts]
    assert whole.collisions == ()


def test_answers_that_share_a_first_token_are_reported_and_told_apart_by_their_mean() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    answers = {**tiny.ANSWERS, "born": (*tiny.ANSWERS["born"], "Carlow Bury")}
    first = value_readout(model, batch, tokenizer, answers)
    assert first.collisions == ("born: Carlow Hill, Carlow Bury",)
    assert first.candidates[batch.fact_ids.index("born0")] == 4
    mean = value_readout(model, batch, tokenizer, answers, tokens="mean")
    assert mean.collisions == ()
    assert mean.candidates[batch.fact_ids.index("born0")] == 5


def test_a_missing_answer_or_relation_is_named() -> None:
    model, batch, tokenizer = one_layer(), tiny.batch(), tiny.tokenizer()
    with pytest.raises(InputError, match="relation 'plays' has no answer set"):
        value_readout(model, batch, tokenizer, {"born": tiny.ANSWERS["born"]})
    with pytest.raises(InputError, match="fact 'born0': answer 'Aston' is not in the answer set of 'born'"):
        value_readout(model, batch, tokenizer, {**tiny.ANSWERS, "born": ("Bury", "Dover")})


def _loss(model: TransformerBridge, batch: PromptBatch, answers: Tensor, bump: Tensor) -> Tensor:
    """Return each fact's loss with ``bump`` on the subject's scores at the last token, in every head."""
    fact = torch.arange(len(batch))

    def raise_scores(pattern: Tensor, hook: object) -> Tensor:
        shift = bump[:, None, None] * batch.subject_mask[:, None].float()
        edited = pattern.clone()
        row = pattern[fact, :, batch.last]
        edited[fact, :, batch.last] = (row.clamp_min(1e-30).log() + shift).softmax(-1)
        return edited

    logits = model.run_with_hooks(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        fwd_hooks=[("blocks.0.attn.hook_pattern", raise_scores)],
    )
    return -logits[fact, batch.last].log_softmax(-1)[fact, answers]


def test_harm_score_is_the_losss_derivative_in_the_subjects_attention_score() -> None:
    model, batch = one_layer(), tiny.batch()
    answers = torch.tensor([ids[0] for ids in answer_tokens(tiny.tokenizer(), batch)])
    bump = torch.zeros(len(batch), requires_grad=True)
    (slope,) = torch.autograd.grad(_loss(model, batch, answers, bump).sum(), bump)
    result = harm_score(model, batch, tiny.tokenizer())
    torch.testing.assert_close(result.values, -slope, atol=1e-6, rtol=1e-4)
    assert (result.values > 0).any()
    assert (result.values < 0).any()


def test_harm_score_on_two_tokens_is_the_formula_of_the_theory() -> None:
    """With a subject and one prompt token, m = s p (s_rel - p_rel), each from v(x)^T (e_a - softmax)."""
    model, tokenizer = one_layer(), tiny.tokenizer()
    prompt = Prompt(text="Ada plays", subject=(0, 3), answers=("lute",), fact_id="x", relation="plays")
    whole = encode(tokenizer, [prompt])
    batch = replace(
        whole,
        **{
            n: getattr(whole, n)[:, 1:]
            for n in ("input_ids", "attention_mask", "subject_mask", "special_mask", "word")
        },
        last=whole.last - 1,
    )
    ids = batch.input_ids[0]
    with torch.no_grad():
        logits = model(ids[None], attention_mask=torch.ones(1, 2).long())[0, -1]
        residual = -logits.softmax(-1)
        residual[answer_tokens(tokenizer, batch)[0][0]] += 1
        sigma = last_row_patterns(model, batch)[0, 0]
        values = einsum(model.W_E[ids], model.W_V[0], "pos i, head i d -> pos head d")
        added = einsum(values, model.W_O[0], model.W_U, residual, "p h d, h d o, o a, a -> h p")
    expected = sigma[:, 0] * sigma[:, 1] * (added[:, 0] - added[:, 1])
    slopes = score_gradient._slopes(model, batch, torch.tensor([answer_tokens(tokenizer, batch)[0][0]]))
    torch.testing.assert_close(slopes[0, 0], expected, atol=1e-6, rtol=1e-4)
    # Where a subject begins the prompt nothing tells its score from a sink's, and none is reported.
    assert batch.sunk.tolist() == [True]
    for found in (harm_score(model, batch, tokenizer).per_head, direct_path_score(model, batch, tokenizer)):
        assert found.isnan().all()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_harm_score_does_not_depend_on_chunks(name: str) -> None:
    model, batch, tokenizer = tiny.both(name).hooked, tiny.batch(), tiny.tokenizer()
    whole, parts = (harm_score(model, batch, tokenizer, batch_tokens=n) for n in (8192, 1))
    torch.testing.assert_close(parts.per_head, whole.per_head, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(whole.values, whole.per_head.sum((1, 2)))


def test_results_are_saved_and_laid_out(tmp_path: Path) -> None:
    model, batch, tokenizer = one_layer(), tiny.batch(), tiny.tokenizer()
    readout, harm = value_readout(model, batch, tokenizer, tiny.ANSWERS), harm_score(model, batch, tokenizer)
    readout.save(tmp_path / "readout.safetensors")
    harm.save(tmp_path / "harm.safetensors")
    loaded = ValueReadout.load(tmp_path / "readout.safetensors")
    assert loaded.to_frame().equals(readout.to_frame())
    assert loaded.collisions == readout.collisions
    assert HarmScore.load(tmp_path / "harm.safetensors").to_frame().equals(harm.to_frame())
    assert list(readout.to_frame()) == [
        "fact_id",
        "stored",
        "used",
        "stored_rank",
        "used_rank",
        "candidates",
    ]
