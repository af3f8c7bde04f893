"""Answer probes: a linear probe that tells right answers from wrong ones in the residual stream.

The residual stream is read two thirds up the layers, at the last token of an answer that stands behind its
prompt. A probe (scikit-learn's logistic regression) is trained on the answers of some facts and scores those
of facts whose *subjects* it has not met, after Gekhman et al. (2025), *Inside-Out: Hidden Factual Knowledge
in LLMs*, arXiv 2503.15299.

Each prompt is run once, and its answers from the keys and values that it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.prompts import Prompt, prompt_names
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.batching import (
    TokenBudget,
    pad_id,
    pad_rows,
    require_context,
    require_embedded,
    rows_within,
    run_in_batches,
)
from finetune.evaluation.prefixes import PrefixMemo, front_of_all
from finetune.evaluation.prompt_cache import PromptCache, later_log_prob, run_prompts
from finetune.evaluation.unembedding import vocabulary

FOLDS = 2  # parts of the subjects, each scored by probes that were trained on the others


def probe_scores(
    features: Float[ndarray, "fact answer d"],
    targets: Float[ndarray, "fact answer d"],
    relations: Shaped[ndarray, " fact"],
    subjects: Shaped[ndarray, " fact"],
    usable: Bool[ndarray, " fact"],
    *,
    permuted: bool = False,
    seed: int = 0,
) -> Float[ndarray, "fact answer"]:
    """Score answers by probes that met neither the fact's relation nor its subject; NaN where none could be.

    With one relation, or one label for all, probes have met other subjects of it.

    Args:
        features: what probes are trained on; the first answer is the right one, one that is not there NaN.
        targets: what they score, of the same facts.
        relations: of each fact.
        subjects: of each fact.
        usable: facts that probes may be trained on.
        permuted: train on labels that are permuted within each fact.
        seed: of the parts and of permuted labels.
    """
    facts, answers, _ = features.shape
    rng = generator(seed, "probe folds")
    part = _folds(subjects, rng)
    labels = np.tile(np.arange(answers) == 0, (facts, 1))
    there = ~np.isnan(features).any(2)
    if permuted:
        labels = rng.permuted(labels, axis=1)
        for row in np.flatnonzero(~there.all(1) & there.any(1)):  # among the answers that are there
            labels[row] = np.arange(answers) == rng.choice(np.flatnonzero(there[row]))
    several = len(np.unique(relations)) > 1
    scores = np.full((facts, answers), np.nan)
    for relation in np.unique(relations):
        for fold in range(FOLDS):
            scored = (relations == relation) & (part == fold)
            met = usable & (part != fold) & ((relations != relation) if several else True)
            if scored.any() and met.any():
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
                learnt, asked = there & met[:, None], there & scored[:, None] & ~np.isnan(targets).any(2)
                probe.fit(features[learnt], labels[learnt])
                scores[asked] = probe.decision_function(targets[asked])
    return scores


def probe_folds(subjects: Shaped[ndarray, " fact"], *, seed: int = 0) -> Int[ndarray, " fact"]:
    """Return the part that :func:`probe_scores` scores each fact in, by probes that met none of it."""
    return _folds(subjects, generator(seed, "probe folds"))


def _folds(subjects: Shaped[ndarray, " fact"], rng: np.random.Generator) -> Int[ndarray, " fact"]:
    names = np.unique(subjects)
    part_of = dict(zip(names.tolist(), rng.permutation(len(names)) % FOLDS, strict=True))
    return np.array([part_of[name] for name in subjects.tolist()])


def draw_answers(
    prompts: Sequence[Prompt], answer_sets: Mapping[str, Sequence[str]], *, wrong: int, seed: int = 0
) -> list[tuple[str, ...]]:
    """Put each fact's right answer before wrong ones, drawn among its relation's; fewer where it has fewer.

    Args:
        prompts: the facts.
        answer_sets: each relation's possible answers.
        wrong: how many wrong answers a fact.
        seed: of the draws.

    Raises:
        InputError: a relation has no answer set.
    """
    rng, made = generator(seed, "wrong answers ranked"), []
    for prompt in prompts:
        if prompt.relation not in answer_sets:
            raise InputError(f"relation {prompt.relation!r}: has no answer set; give each relation's answers")
        others = [name for name in answer_sets[prompt.relation] if name not in prompt.answers]
        made.append((prompt.answers[0], *(others[i] for i in rng.permutation(len(others))[:wrong])))
    return made


def other_subjects(
    prompts: Sequence[Prompt], parts: Int[ndarray, " fact"] | None = None, *, seed: int = 0
) -> list[int]:
    """Choose for each fact one of its relation, of another subject and answer; itself where there is none.

    Args:
        prompts: the facts.
        parts: the part that each is of, in which the other one is looked for.
        seed: of the choice.
    """
    rng, chosen = generator(seed, "swapped names"), []
    parts = np.zeros(len(prompts), int) if parts is None else parts
    for i, prompt in enumerate(prompts):
        order = rng.permutation(len(prompts)).tolist()
        same = (k for k in order if parts[k] == parts[i])
        chosen.append(next((k for k in same if _is_other(prompt, prompts[k])), i))
    return chosen


def _is_other(one: Prompt, two: Prompt) -> bool:
    names = {prompt.text[slice(*prompt.subject)] for prompt in (one, two)}
    return one.relation == two.relation and len(names) == 2 and not {*one.answers} & {*two.answers}


def score_answers(
    model: TransformerBridge,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
    *,
    batch_tokens: int = 8192,
) -> tuple[Float[ndarray, "fact answer"], Float[ndarray, "fact answer d"]]:
    """Return log p of every answer behind its prompt (nats), and the residual at the answer's last token.

    Every fact has an answer at least; where it has fewer than others, the rest of its row is NaN.

    Args:
        model: the hooked model.
        tokenizer: its own.
        prompts: the facts.
        answers: of each fact.
        batch_tokens: bound on the tokens of one forward pass.

    Raises:
        InputError: a prompt with an answer is longer than the model's context.
    """
    plain, most = cast("PreTrainedModel", model.original_model), max(map(len, answers), default=0)
    heads, tails = _tokens(plain, tokenizer, prompts, answers)
    log_prob = torch.full((len(prompts), most), torch.nan)
    residual = torch.full((len(prompts), most, model.cfg.d_model), torch.nan)
    longest = max(len(said) for some in tails for said in some)
    memo, pad, rows = PrefixMemo(), pad_id(tokenizer, plain), rows_within(vocabulary(plain), longest)
    front = front_of_all(plain, heads, longest, memo)

    def work(chunk: list[int]) -> None:
        some = [heads[i] for i in chunk]
        cache, logits = run_prompts(plain, some, pad, front=front(chunk), memo=memo)
        first = logits.float().log_softmax(-1)
        places = torch.tensor([(row, k) for row, i in enumerate(chunk) for k in range(len(tails[i]))])
        for row, nth in (part.unbind(1) for part in places.split(rows)):
            fact = torch.tensor(chunk)[row]
            said = [tails[i][k] for i, k in zip(fact.tolist(), nth.tolist(), strict=True)]
            log_prob[fact, nth], residual[fact, nth] = _behind(cache, first, said, row, probed_layer(model))

    plain.eval()
    widths = [len(head) + sum(map(len, some)) for head, some in zip(heads, tails, strict=True)]
    most_prompts = rows_within(vocabulary(plain))
    run_in_batches(widths, work, budget=TokenBudget(tokens=batch_tokens), most=most_prompts)
    return log_prob.numpy(), residual.numpy()


def _tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
) -> tuple[list[tuple[int, ...]], list[list[tuple[int, ...]]]]:
    """Tokenise prompts, and each one's answers behind it; refuse what the model cannot read."""
    behind = [prompt for prompt, some in zip(prompts, answers, strict=True) for _ in some]
    pairs = tokenize_with_answer(tokenizer, behind, [answer for some in answers for answer in some])
    whole, names = [(*head, *said) for head, said in pairs], prompt_names(behind)
    require_context(model, list(map(len, whole)), names)
    require_embedded(model, tokenizer, whole, names)
    each = iter(pairs)
    read = [[next(each) for _ in some] for some in answers]
    return [some[0][0] for some in read], [[said for _, said in some] for some in read]


def probed_layer(model: TransformerBridge) -> int:
    """Return the layer behind which answers are probed: two thirds up; of one layer, behind the norm."""
    return max(0, round(2 * model.cfg.n_layers / 3) - 1)


def _behind(
    cache: PromptCache,
    first: Float[Tensor, "prompt vocab"],
    said: Sequence[Sequence[int]],
    row: Int[Tensor, " some"],
    layer: int,
) -> tuple[Float[Tensor, " some"], Float[Tensor, "some d"]]:
    """Return log p of answers behind prompts that were run, and the residual at their last tokens."""
    ids, mask = pad_rows(said, 0)
    lengths, ids = mask.sum(1), ids.to(first.device)
    logits, states = cache.tail_states(ids, row, layer)
    total = first[row.to(first.device), ids[:, 0]].cpu() + later_log_prob(logits[:, :-1], ids, lengths)
    return total, states.cpu()[torch.arange(len(said)), lengths - 1].float()
