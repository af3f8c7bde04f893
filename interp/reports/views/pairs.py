"""One prompt asked of both models of a pair: what their heads attend to, and what their values say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED, phrasebook
from finetune.data.prompts import Prompt, fact_prompt
from finetune.data.records.fact import Fact
from interp.measures.attention import full_patterns
from interp.measures.decode import greedy
from interp.measures.spans import PromptBatch, encode
from interp.measures.token_readout import Kind, token_readout
from interp.models.pair import CheckpointPair
from interp.reports.read.fact_attention import BASE, MOST_HEADS
from interp.reports.views.attention import FINETUNED, AttentionView, attention_view_of
from interp.reports.views.text import TextView, text_view

Asked = Prompt | Fact
NAMES = (BASE, FINETUNED)
LONGEST_ANSWER = 12


def attention_view(
    pair: CheckpointPair,
    prompt: Asked,
    *,
    heads: int = MOST_HEADS,
    names: tuple[str, str] = NAMES,
    prompt_format: str = ASKED,
    title: str = "",
) -> AttentionView:
    """Show what base and fine-tuned model attend to in one prompt, heads in order of change.

    Args:
        pair: both models; each is opened in turn.
        prompt: what to ask; a fact is asked by its own question, or in its relation's wording.
        heads: how many heads to show; fewer where the prompt is long.
        names: what the two models are called.
        prompt_format: what stands around a fact's own question.
        title: a heading.

    Raises:
        InputError: the prompt cannot be aligned with the tokenizer, or is too long for a page.
    """
    batch = _batch(pair, prompt, prompt_format)

    def read(model: TransformerBridge) -> tuple[Tensor, str]:
        (said,) = greedy(model, batch, pair.tokenizer, max_new_tokens=LONGEST_ANSWER)
        return full_patterns(model, batch)[0], said

    (before, said_before), (after, said_after) = pair.read_both(read)
    return attention_view_of(
        before.numpy(),
        after.numpy(),
        batch.tokens(pair.tokenizer)[0],
        batch.subject_mask[0].tolist(),
        heads=heads,
        names=names,
        prompt=batch.prompts[0].text,
        answers=batch.prompts[0].answers,
        predictions=(said_before, said_after),
        title=title,
    )


def attention_text(
    pair: CheckpointPair,
    prompt: Asked,
    *,
    names: tuple[str, str] = NAMES,
    prompt_format: str = ASKED,
    title: str = "",
) -> TextView:
    """Colour a prompt's tokens by the last token's attention, averaged over heads or in the one chosen.

    Args:
        pair: the two models.
        prompt: what they are asked.
        names: what the two models are called.
        prompt_format: how a fact is worded.
        title: of the view.

    Raises:
        InputError: the prompt cannot be aligned with the tokenizer.
    """
    batch = _batch(pair, prompt, prompt_format)
    before, after = pair.read_both(lambda model: full_patterns(model, batch)[0, :, :, -1])
    return _text(pair, batch, (before, after), "mean of all heads", torch.mean, names, title, "attention")


def readout_text(
    pair: CheckpointPair,
    prompt: Asked,
    *,
    kind: Kind = "stored",
    answer_sets: Mapping[str, Sequence[str]] | None = None,
    names: tuple[str, str] = NAMES,
    prompt_format: str = ASKED,
    title: str = "",
) -> TextView:
    """Colour a prompt's tokens by what their value vectors say of the answer, summed over heads or in one.

    The number is :func:`token_readout`'s; over the subject's tokens it adds up to ``value_readout``'s.

    Args:
        pair: both models; each is opened in turn.
        prompt: what to ask, with an answer.
        kind: ``stored`` (the values as they are) or ``used`` (weighted by the last token's attention).
        answer_sets: the possible answers of its relation; without them the whole vocabulary is compared with.
        names: what the two models are called.
        prompt_format: what stands around a fact's own question.
        title: a heading.

    Raises:
        InputError: another kind, no answer, or one that is not in its relation's set.
    """
    if kind not in ("stored", "used"):
        raise InputError(f"kind = {kind!r}: choose stored or used")
    batch = _batch(pair, prompt, prompt_format)
    before, after = pair.read_both(lambda model: token_readout(model, batch, pair, kind, answer_sets))
    what = (
        f"answer's logit read from the values ({kind}) over the mean of {'its set' if answer_sets else 'all'}"
    )
    return _text(pair, batch, (before, after), "sum of all heads", torch.sum, names, title, what)


def _batch(pair: CheckpointPair, asked: Asked, prompt_format: str) -> PromptBatch:
    if isinstance(asked, Fact):
        asked = fact_prompt(asked, phrasebook(FactSet(facts=(asked,), name="")), prompt_format)
    return encode(pair.tokenizer, [asked])


def _text(
    pair: CheckpointPair,
    batch: PromptBatch,
    values: Sequence[Float[Tensor, "layer head token"]],
    together: str,
    reduce: Callable[..., Tensor],
    names: tuple[str, str],
    title: str,
    what: str,
) -> TextView:
    """Lay out [layer head token] as choices: all heads together, then each, the largest change first."""
    flat = [rearrange(each, "layer head token -> (layer head) token") for each in values]
    heads = values[0].shape[1]
    order = (flat[1] - flat[0]).abs().sum(-1).argsort(descending=True, stable=True).tolist()
    tables = {
        name: torch.cat([rearrange(reduce(each, dim=0), "token -> 1 token"), each[order]]).numpy()
        for name, each in zip(names, flat, strict=True)
    }
    return text_view(
        batch.tokens(pair.tokenizer)[0],
        tables,
        choices=(together, *(f"L{i // heads}H{i % heads}" for i in order)),
        subject=batch.subject_mask[0].tolist(),
        what=what,
        title=title,
    )
