"""Losses of mitigations: the attention that the base pays to subjects, and what it says of known facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.tokenization import subject_tokens, tokenize, tokenize_with_answer
from finetune.evaluation.batching import pad_id, pad_rows
from finetune.evaluation.unembedding import logits_at
from finetune.training.examples import TokenRows

ROWS = 64  # texts a forward pass, when the base is read
WORDS = 8192  # tokens of a vocabulary up to which all that the base says is held
TOP = 256  # tokens that are held of a larger one, and the rest as one


@dataclass(frozen=True, kw_only=True)
class BaseAttention:
    """The base's subject attention [text, layer, head], and where each text's subject and last token are."""

    subject: Bool[Tensor, "text pos"]
    last: Int[Tensor, " text"]
    base: Float[Tensor, "text layer head"]

    def loss(
        self, attentions: Sequence[Float[Tensor, "row head pos pos"]], text: Int[Tensor, " row"]
    ) -> Tensor:
        """Return the mean over rows, layers and heads of relu(base - now)^2."""
        at = text.cpu()
        now = subject_mass(attentions, self.subject[at], self.last[at])
        return attention_loss(self.base[at].to(now), now)


@dataclass(frozen=True, kw_only=True)
class DistillationTargets:
    """Known facts as they are asked, with what the base says of each: log p of tokens, at its answer.

    ``ids`` and ``mask`` are [fact, pos]; ``log_probs`` [fact, nth, token] (nats) stands at the positions
    ``at`` [fact, nth], of which ``real`` are the answer's. Of a large vocabulary it holds the likeliest
    tokens, which ``token_ids`` [fact, nth, token] names, and the rest as one: its divergence is then at most
    that of all tokens, and memory a fact does not grow with the vocabulary.
    """

    ids: Int[Tensor, "fact pos"]
    mask: Int[Tensor, "fact pos"]
    at: Int[Tensor, "fact nth"]
    real: Bool[Tensor, "fact nth"]
    log_probs: Float[Tensor, "fact nth token"]
    token_ids: Int[Tensor, "fact nth token"] | None = None

    @property
    def tokens(self) -> Int[Tensor, " fact"]:
        """How many tokens each fact's answer has."""
        return self.real.sum(1)

    def loss(self, model: Any, fact: Int[Tensor, " row"], tokens: Float[Tensor, ""] | None = None) -> Tensor:
        """Return the sum over answer tokens of KL(base || model), nats, over ``tokens``; or the mean."""
        device, some = fact.device, fact.cpu()
        now = _at_answers(model, self.ids[some], self.mask[some], self.at[some], device)
        if self.token_ids is not None:
            now = with_rest_mass(now, self.token_ids[some].to(device))
        return divergence(self.log_probs[some].to(device), now, self.real[some].to(device), tokens)


def attention_loss(base: Float[Tensor, "*some"], now: Float[Tensor, "*some"]) -> Float[Tensor, ""]:
    """Return mean relu(base - now)^2: what is lost counts, what is gained does not."""
    return (base - now).relu().square().mean()


def divergence(
    base: Float[Tensor, "fact nth token"],
    now: Float[Tensor, "fact nth token"],
    real: Bool[Tensor, "fact nth"],
    tokens: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean over real places of KL(base || now) = sum p_base (log p_base - log p_now), nats.

    Args:
        base: log p of the base's tokens.
        now: log p of the same tokens.
        real: which places are an answer's.
        tokens: what the sum is divided by in the place of the number of real places.
    """
    each = (base.exp() * (base - now)).sum(-1)[real]
    return each.mean() if tokens is None else each.sum() / tokens


def with_rest_mass(
    log_probs: Float[Tensor, "fact nth token"], token_ids: Int[Tensor, "fact nth some"]
) -> Float[Tensor, "fact nth some_and_rest"]:
    """Keep log p of some tokens, and behind them that of all others together."""
    named = log_probs.gather(-1, token_ids)
    left = 1 - named.exp().sum(-1, keepdim=True)
    return torch.cat([named, left.clamp_min(torch.finfo(left.dtype).eps).log()], dim=-1)


def subject_mass(
    attentions: Sequence[Float[Tensor, "row head pos pos"]],
    subject: Bool[Tensor, "row pos"],
    last: Int[Tensor, " row"],
) -> Float[Tensor, "row layer head"]:
    """Add up the attention that the token at ``last`` pays to the subject's, by layer and head."""
    row = torch.arange(len(last))
    width = attentions[0].shape[-1]
    keys = subject[:, :width].to(attentions[0].device)
    each = [layer[row, :, last.to(layer.device)] * keys[:, None] for layer in attentions]
    return torch.stack([part.sum(-1).float() for part in each], dim=1)


def read_base_attention(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TokenRows, prompts: Sequence[Prompt]
) -> BaseAttention:
    """Read the base's subject attention on every text, and let the model return its attention from now on.

    Args:
        model: the base.
        tokenizer: the model's own fast tokenizer.
        rows: the rows that will be trained on.
        prompts: the prompts of the rows' texts.

    Raises:
        InputError: a prompt whose subject has no token, or a model that does not return its attention.
    """
    model.set_attn_implementation("eager")  # others do not return it
    subject = torch.zeros(rows.ids.shape, dtype=torch.bool)
    for mask, tokens, prompt in zip(subject, tokenize(tokenizer, prompts), prompts, strict=True):
        mask[: len(tokens)] = torch.tensor(subject_tokens(prompt.text, tokens.offsets, [prompt.subject]))
        mask[0] = False  # the first token draws attention whatever it is
        if not mask.any():
            raise InputError(
                f"prompt {prompt.fact_id or prompt.text[:40]!r}: no token behind its first is its subject's; "
                "word it with something in front of the subject"
            )
    last = torch.from_numpy(rows.scored_from - 1)
    parts = []

    def read(some: list[int]) -> None:
        batch = {n: v.to(model.device) for n, v in rows.collate(some).items() if n != "labels"}
        attentions = model(**batch, output_attentions=True).attentions
        if not attentions or attentions[0] is None:
            raise InputError(
                f"attention_penalty: {type(model).__name__} does not return its attention; leave "
                "--attention-penalty out, or fine-tune another architecture"
            )
        parts.append(subject_mass(attentions, subject[some], last[some]).cpu())

    with _evaluation_mode(model):
        _in_order(range(len(prompts)), read)
    return BaseAttention(subject=subject, last=last, base=torch.cat(parts))


def distillation_targets(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, known: Sequence[tuple[Prompt, Prompt]]
) -> DistillationTargets:
    """Read what the base says of known facts, each as it is asked first; the second is how it will be asked.

    The two prompts of a pair take the same answer: the first one's canonical one.

    Raises:
        InputError: an answer that is read as other tokens behind the second prompt than behind the first.
    """
    answers = [asked.answers[0] for asked, _ in known]
    taught, asked = (
        tokenize_with_answer(tokenizer, [pair[side] for pair in known], answers) for side in (0, 1)
    )
    for (_, one), (_, other), (prompt, _) in zip(taught, asked, known, strict=True):
        if one != other:
            raise InputError(
                f"fact {prompt.fact_id!r}: its answer is read as other tokens behind the other prompt, so "
                "the two cannot be compared; word both to end in the same way"
            )
    pad = pad_id(tokenizer, model)
    parts: list[Tensor] = []
    tokens: list[Tensor] = []
    ids, mask, at, real = _pad_answers(taught, pad)

    def read(some: list[int]) -> None:
        log_probs = _at_answers(model, ids[some], mask[some], at[some], model.device)
        if log_probs.shape[-1] > WORDS:
            likeliest = log_probs.topk(TOP).indices
            log_probs = with_rest_mass(log_probs, likeliest)
            tokens.append(likeliest.cpu())
        parts.append(log_probs.cpu())

    with _evaluation_mode(model):
        _in_order(range(len(known)), read)
    ids, mask, at, real = _pad_answers(asked, pad)
    token_ids = torch.cat(tokens) if tokens else None
    return DistillationTargets(
        ids=ids, mask=mask, at=at, real=real, log_probs=torch.cat(parts), token_ids=token_ids
    )


def _pad_answers(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], pad: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put prompts with their answers into rows; return ids, mask, and where answers are read and are real."""
    ids, mask = pad_rows([(*prompt, *answer) for prompt, answer in pairs], pad)
    starts = torch.tensor([len(prompt) - 1 for prompt, _ in pairs])
    lengths = torch.tensor([len(answer) for _, answer in pairs])
    nth = torch.arange(int(lengths.max()))
    real = nth < lengths[:, None]
    return ids, mask, torch.where(real, starts[:, None] + nth, 0), real


def _at_answers(
    model: Any, ids: Tensor, mask: Tensor, at: Tensor, device: Any
) -> Float[Tensor, "fact nth token"]:
    longest = int(mask.sum(1).max())
    here = logits_at(model, ids[:, :longest], mask[:, :longest], at)
    return here.to(device).float().log_softmax(-1)


@contextmanager
def _evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Read a model without training it: no gradient, no dropout."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():  # inference mode would leave tensors that training may not use
            yield
    finally:
        model.train(training)


def _in_order(items: Sequence[int] | range, work: Callable[[list[int]], None]) -> None:
    for start in range(0, len(items), ROWS):
        work(list(items[start : start + ROWS]))
