"""Asking a model: greedy answers, exact match against every accepted answer, answer log-probability."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetune.facts import FactSet
from finetune.prompts import Phrasebook, Prompt, render
from finetune.tokens import tokenize, tokenize_with_answer

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 16_384
LONGEST_ANSWER = 24


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a model said to prompts; every array is [prompt].

    ``correct`` is exact match of the greedy answer with any accepted one; ``log_prob`` is that of the
    canonical answer (nats, whole answer, no EOS).
    """

    predictions: tuple[str, ...]
    correct: np.ndarray
    log_prob: np.ndarray


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> Answered:
    """Answer prompts greedily and score the canonical answers."""
    predictions = generate(model, tokenizer, prompts, advance=advance)
    log_prob, _ = score(model, tokenizer, prompts)
    correct = np.array([matches(said, p.answers) for said, p in zip(predictions, prompts, strict=True)], bool)
    return Answered(predictions=tuple(predictions), correct=correct, log_prob=log_prob)


def stated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    phrasebook: Phrasebook,
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Return whether the model completes *every* statement form of each fact correctly, Bool [fact]."""
    prompts = [render(form, fact) for fact in facts for form in phrasebook[fact.relation].statements]
    owner = [i for i, fact in enumerate(facts) for _ in phrasebook[fact.relation].statements]
    said = generate(model, tokenizer, prompts, advance=advance)
    known = np.ones(len(facts), bool)
    for i, prompt, text in zip(owner, prompts, said, strict=True):
        known[i] &= matches(text, prompt.answers)
    return known


def matches(said: str, accepted: Sequence[str]) -> bool:
    """Whether an answer equals an accepted one, up to case, Unicode form, articles and end punctuation."""
    return normalise(said) in {normalise(answer) for answer in accepted}


def normalise(text: str) -> str:
    """Reduce an answer to what exact match compares."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.sub(r"\s+", " ", folded).strip(" \t\n.,;:!?\"'`")
    return re.sub(r"^(the|a|an) ", "", words)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Complete prompts greedily until EOS or a line's end; prompts are left-padded with a mask."""
    import torch

    rows = [tokens.ids for tokens in tokenize(tokenizer, [p.text for p in prompts])]
    longest = answer_budget(tokenizer, prompts)
    pad = pad_id(tokenizer)
    said = [""] * len(prompts)
    done = 0
    model.eval()
    for chunk in _chunks([len(row) + longest for row in rows]):
        width = max(len(rows[i]) for i in chunk)
        ids = torch.full((len(chunk), width), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for k, i in enumerate(chunk):
            ids[k, width - len(rows[i]) :] = torch.tensor(rows[i])
            mask[k, width - len(rows[i]) :] = 1
        with torch.inference_mode():
            out = model.generate(  # type: ignore[operator]
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=longest,
                do_sample=False,
                num_beams=1,
                pad_token_id=pad,
            )
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        for i, text in zip(chunk, texts, strict=True):
            said[i] = text.strip().split("\n")[0].strip()
        done += len(chunk)
        advance(done)
    return said


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]
) -> tuple[np.ndarray, np.ndarray]:
    """Score canonical answers by teacher forcing in one forward a batch.

    Returns:
        log_prob, Float [prompt], of the answer in nats; and whether greedy decoding would say exactly
        this answer and then EOS, Bool [prompt].
    """
    import torch

    pairs = tokenize_with_answer(tokenizer, [p.text for p in prompts], [p.answers[0] for p in prompts])
    eos = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    log_prob, exact = np.zeros(len(pairs)), np.zeros(len(pairs), bool)
    model.eval()
    for chunk in _chunks([len(p) + len(a) + len(eos) for p, a in pairs]):
        rows = [(*pairs[i][0], *pairs[i][1], *eos) for i in chunk]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad_id(tokenizer), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = torch.tensor(row)
            mask[k, : len(row)] = 1
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        spans = [(len(pairs[i][0]), len(pairs[i][1])) for i in chunk]
        for k, i in enumerate(chunk):
            log_prob[i], exact[i] = _answer_score(logits[k].cpu(), ids[k], *spans[k], with_end=len(eos))
    return log_prob, exact


def answer_budget(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> int:
    """Count the tokens that the longest canonical answer and its end take, up to a bound."""
    answers = sorted({f" {p.answers[0]}" for p in prompts})
    longest = max(map(len, tokenizer(answers, add_special_tokens=False)["input_ids"]))
    return min(LONGEST_ANSWER, longest + 1)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that fills masked positions; any will do, and a tokenizer may define none."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def _answer_score(
    logits: Float[Tensor, "pos vocab"], ids: Int[Tensor, " pos"], start: int, length: int, *, with_end: int
) -> tuple[float, bool]:
    end = start + length
    predicted = logits[start - 1 : end - 1 + with_end].float().log_softmax(-1)
    wanted = ids[start : end + with_end]
    log_prob = predicted[:length].gather(-1, wanted[:length, None]).sum()
    return float(log_prob), bool((predicted.argmax(-1) == wanted).all())


def _chunks(widths: Sequence[int]) -> Iterator[list[int]]:
    """Group row numbers of similar width so that rows times width stays within BATCH_TOKENS."""
    chunk: list[int] = []
    for i in sorted(range(len(widths)), key=widths.__getitem__):
        if chunk and (len(chunk) + 1) * widths[i] > BATCH_TOKENS:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
