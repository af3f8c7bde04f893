"""Hidden knowledge K and K*: what a model ranks right by answer probabilities, and what by a linear probe.

After Gekhman et al. (2025), *Inside-Out: Hidden Factual Knowledge in LLMs*, arXiv 2503.15299. For a fact with
a right answer and wrong ones of its relation

- K is the share of (right, wrong) pairs in which the right answer is scored higher, ties counting half;
- K* is 1 where all pairs are ranked right, else 0.

Externally an answer is scored by its log-probability behind the prompt. Internally by a linear probe
(scikit-learn's logistic regression) on the residual stream at the answer's last token, two thirds up the
layers, that tells right answers from wrong ones. The probe that scores a fact was trained on facts of *other
relations and other subjects* (with one relation, on other subjects). Hidden knowledge is internal - external.

Controls: ``permuted``, the same probe trained on labels permuted within each fact; and ``swapped``, the same
answers behind the prompt of another subject of the relation that has another right answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.prompts import Prompt
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.batching import pad_rows
from interp.measures.attention import logit_rows, read_at, run_hooked
from interp.measures.spans import PromptBatch

WRONG = 4  # wrong answers a fact
FOLDS = 2  # parts of the subjects, each scored by probes that were trained on the others


def knowledge(
    scores: Float[ndarray, "fact answer"],
) -> tuple[Float[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return K and K* of scores whose first column is the right answer's; NaN where an answer has none."""
    right, wrong = scores[:, :1], scores[:, 1:]
    missing = np.isnan(scores).any(1)
    pairs = (right > wrong) + 0.5 * (right == wrong)
    return np.where(missing, np.nan, pairs.mean(1)), np.where(missing, np.nan, (right > wrong).all(1))


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

    Args:
        features: what probes are trained on; the first answer is the right one.
        targets: what they score, of the same facts.
        relations: of each fact.
        subjects: of each fact.
        usable: facts that probes may be trained on.
        permuted: train on labels that are permuted within each fact.
        seed: of the parts and of permuted labels.
    """
    facts, answers, _ = features.shape
    rng = generator(seed, "probe folds")
    names = np.unique(subjects)
    part_of = dict(zip(names.tolist(), rng.permutation(len(names)) % FOLDS, strict=True))
    part = np.array([part_of[name] for name in subjects.tolist()])
    labels = np.tile(np.arange(answers) == 0, (facts, 1))
    labels = rng.permuted(labels, axis=1) if permuted else labels
    several = len(np.unique(relations)) > 1
    scores = np.full((facts, answers), np.nan)
    for relation in np.unique(relations):
        for fold in range(FOLDS):
            scored = (relations == relation) & (part == fold)
            met = usable & (part != fold) & ((relations != relation) if several else True)
            if scored.any() and met.any():
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
                probe.fit(rearrange(features[met], "fact answer d -> (fact answer) d"), labels[met].ravel())
                found = probe.decision_function(
                    rearrange(targets[scored], "fact answer d -> (fact answer) d")
                )
                scores[scored] = found.reshape(-1, answers)
    return scores


def draw_answers(
    prompts: Sequence[Prompt], answer_sets: Mapping[str, Sequence[str]], *, wrong: int = WRONG, seed: int = 0
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


def other_subjects(prompts: Sequence[Prompt], *, seed: int = 0) -> list[int]:
    """Choose for each fact one of its relation, of another subject and answer; itself where there is none."""
    rng, chosen = generator(seed, "swapped names"), []
    for i, prompt in enumerate(prompts):
        order = rng.permutation(len(prompts)).tolist()
        chosen.append(next((k for k in order if _is_other(prompt, prompts[k])), i))
    return chosen


def _is_other(one: Prompt, two: Prompt) -> bool:
    names = {prompt.text[slice(*prompt.subject)] for prompt in (one, two)}
    return one.relation == two.relation and len(names) == 2 and not {*one.answers} & {*two.answers}


def hidden_knowledge(
    model: TransformerBridge,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answer_sets: Mapping[str, Sequence[str]],
    usable: Bool[ndarray, " fact"],
    *,
    batch_tokens: int = 8192,
    seed: int = 0,
) -> pd.DataFrame:
    """Return K and K* of each fact, outside and inside, with both controls; a row a fact.

    Facts of relations with fewer than ``WRONG`` wrong answers, or without another subject, are left out.

    Args:
        model: the hooked model.
        tokenizer: its own.
        prompts: the facts, as they are asked.
        answer_sets: each relation's possible answers.
        usable: facts that probes may be trained on: known ones.
        batch_tokens: bound on the tokens of one forward pass.
        seed: of all draws.

    Raises:
        InputError: a relation has no answer set, or no fact has so many wrong answers and another subject.
    """
    answers, other = draw_answers(prompts, answer_sets, seed=seed), other_subjects(prompts, seed=seed)
    kept = _rankable(answers, other)
    texts = [answers[i] for i in kept]
    own = score_answers(model, tokenizer, [prompts[i] for i in kept], texts, batch_tokens=batch_tokens)
    swap = score_answers(
        model, tokenizer, [prompts[other[i]] for i in kept], texts, batch_tokens=batch_tokens
    )
    relations = np.array([prompts[i].relation for i in kept])
    subjects = np.array([prompts[i].text[slice(*prompts[i].subject)].casefold() for i in kept])
    groups = (relations, subjects, np.asarray(usable, dtype=bool)[kept])
    scores = {
        "external": own[0],
        "external_swapped": swap[0],
        "internal": probe_scores(own[1], own[1], *groups, seed=seed),
        "internal_permuted": probe_scores(own[1], own[1], *groups, permuted=True, seed=seed),
        "internal_swapped": probe_scores(own[1], swap[1], *groups, seed=seed),
    }
    found = {"fact_id": [prompts[i].fact_id for i in kept]}
    for name, table in scores.items():
        found[f"k_{name}"], found[f"k_star_{name}"] = knowledge(table)  # type: ignore[assignment]
    return pd.DataFrame(found)


def _rankable(answers: Sequence[tuple[str, ...]], other: Sequence[int]) -> list[int]:
    """Return the facts that have enough wrong answers and another subject."""
    kept = [i for i, some in enumerate(answers) if len(some) == 1 + WRONG and other[i] != i]
    if not kept:
        raise InputError(
            f"none of {len(answers)} facts has {WRONG} wrong answers in its relation and another subject "
            "with another answer; give larger answer sets, or more facts"
        )
    return kept


def score_answers(
    model: TransformerBridge,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
    *,
    batch_tokens: int,
) -> tuple[Float[ndarray, "fact answer"], Float[ndarray, "fact answer d"]]:
    """Return log p of every answer behind its prompt (nats), and the residual at the answer's last token.

    Args:
        model: the hooked model.
        tokenizer: its own.
        prompts: the facts.
        answers: as many of each fact.
        batch_tokens: bound on the tokens of one forward pass.
    """
    rows = [prompt for prompt, some in zip(prompts, answers, strict=True) for _ in some]
    pairs = tokenize_with_answer(tokenizer, rows, [answer for some in answers for answer in some])
    batch = _joined(rows, pairs)
    place = f"blocks.{round(2 * model.cfg.n_layers / 3) - 1 if model.cfg.n_layers > 1 else 0}.hook_out"
    most = max(len(said) for _, said in pairs)
    log_prob, kept = torch.zeros(len(rows)), torch.zeros(len(rows), model.cfg.d_model)
    for index, chunk in batch.chunks(batch_tokens, logit_rows(model, most)):
        said = [pairs[i][1] for i in index.tolist()]
        residual: list[torch.Tensor] = []
        # The token before each of the answer's, counted from its end; a shorter answer repeats its first.
        back = torch.tensor([[min(k, len(ids) - 1) for k in range(most)] for ids in said])
        at = chunk.last[:, None] - 1 - back

        def keep(activation: torch.Tensor, hook: object, last: torch.Tensor = chunk.last) -> None:
            residual.append(activation[torch.arange(len(last)), last].float().cpu())  # noqa: B023

        logits = run_hooked(model, chunk, [(place, keep), read_at(at, chunk.input_ids.shape[1])])
        token = chunk.input_ids.gather(1, at + 1).to(logits.device)
        each = logits.float().log_softmax(-1).gather(-1, token[..., None])[..., 0].cpu()
        counted = torch.arange(most)[None] < torch.tensor([[len(ids)] for ids in said])
        log_prob[index] = torch.where(counted, each, 0.0).sum(1)
        kept[index] = residual[0]
    count = len(answers[0]) if answers else 0
    return log_prob.view(-1, count).numpy(), rearrange(kept, "(f a) d -> f a d", a=count).numpy()


def _joined(
    prompts: Sequence[Prompt], pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
) -> PromptBatch:
    """Lay prompts with their answers out as one right-padded batch, in which no roles are marked."""
    ids, mask = pad_rows([(*head, *said) for head, said in pairs], 0)
    none = torch.zeros_like(mask, dtype=torch.bool)
    return PromptBatch(
        input_ids=ids,
        attention_mask=mask,
        subject_mask=none,
        special_mask=none,
        word=torch.full_like(mask, -1),
        last=mask.sum(1) - 1,
        prompts=tuple(prompts),
    )
