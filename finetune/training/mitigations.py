"""Mitigations during training: what keeps fine-tuning from suppressing facts that the base knows.

1. ``qk_rate``: W_Q and W_K learn at this share of the learning rate; at 0 they keep the base's bits.
2. ``attention_penalty`` w: the loss gains w * mean over facts, layers and heads of relu(base - now)^2, where
   both are the attention mass that the last prompt token pays to the subject.
3. ``distil`` w: the loss gains w * mean over a step's answer tokens of KL(base || now), on known facts. Each
   is a pair of prompts, as the base is asked and as the model is: the same statement twice keeps what the
   base says; a statement and a question teach the question to say what the base states, with no label but the
   base's own.

The base's attention and answers are read off the model before it is trained, so no second model is held. Each
training row brings a known fact with it, in passes newly shuffled.

Which facts come last (``stages``), which are mixed in (the prompts), on which to stop (``validation``) and
what LoRA may learn (``targets``) are arguments and settings of :func:`finetune.training.train.train` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.records.fact import Fact
from finetune.training.config import TuneConfig
from finetune.training.examples import TokenRows, repeat_in_passes
from finetune.training.mitigation_losses import (
    BaseAttention,
    DistillationTargets,
    distillation_targets,
    read_base_attention,
)
from finetune.training.projections import routing_weights


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a batch brings beside its own rows: their texts, known facts, and a step's mean answer tokens."""

    text: torch.Tensor
    partner: torch.Tensor
    tokens: torch.Tensor


Term = Callable[[Any, Any, Extra], "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class PartneredRows:
    """Rows that say which text they are of, and the known fact that goes with each (``partner`` [row]).

    ``tokens`` [row] is how many answer tokens the known facts of a row's step have on average: a piece of a
    step divides by as many, so that its pieces add up to the mean over the step's answer tokens.
    """

    examples: TokenRows
    partner: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> tuple[int, int, float]:
        return self.examples[row], int(self.partner[row]), float(self.tokens[row])

    def collate(self, rows: Sequence[tuple[int, int, float]]) -> dict[str, torch.Tensor]:
        """Gather a batch as :meth:`Examples.collate` does, with what belongs to its rows beside it."""
        texts, partners, tokens = zip(*rows, strict=True)
        return {
            **self.examples.collate(texts),
            "text": torch.tensor(texts),
            "partner": torch.tensor(partners),
            "tokens": torch.tensor(tokens),
        }


def distillation_pairs(
    facts: Sequence[Fact], book: Phrasebook, *, statements_of: Sequence[Fact] | None = None
) -> list[tuple[Prompt, Prompt]]:
    """Pair each fact's question with every statement form: the one is to be answered as the other is.

    For :func:`finetune.training.train`'s ``known``, with facts that the base states. Facts that it does
    not state are a placebo, and so is ``statements_of``: for every fact another one, whose statements are
    taken.

    Raises:
        InputError: not as many others as facts, or another one of another relation.
    """
    others = facts if statements_of is None else statements_of
    if [fact.relation for fact in facts] != [fact.relation for fact in others]:
        raise InputError("statements_of: give for every fact one of the same relation, in the same order")
    return [
        (render(form, other), render(book[fact.relation].asked, fact))
        for fact, other in zip(facts, others, strict=True)
        for form in book[fact.relation].statements
    ]


def mitigated_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: TokenRows,
    prompts: Sequence[Prompt],
    known: Sequence[tuple[Prompt, Prompt]],
    config: TuneConfig,
    *,
    seed: int,
) -> tuple[Any, type[Trainer] | None]:
    """Return the data set and the trainer of a training with its cures; the rows and None without any.

    Args:
        model: still the base; W_Q and W_K are frozen in it where they are to be.
        tokenizer: the model's own fast tokenizer.
        rows: the rows to train on.
        prompts: the prompts of the rows' texts.
        known: facts to distil: as the base is asked, and as the model is.
        config: the settings.
        seed: pairs rows with known facts.

    Raises:
        InputError: W_Q and W_K that are no weights of their own, facts to distil missing or not wanted.
    """
    if bool(known) != bool(config.distil):
        raise InputError(
            f"distil = {config.distil:g} with {len(known)} known facts: give both a weight and facts, or none"
        )
    routing = frozenset[str]()
    if config.qk_rate != 1:
        routing = routing_weights(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if name in routing and config.qk_rate == 0:
            parameter.requires_grad_(False)
    terms: list[Term] = []
    if config.attention_penalty:
        terms.append(_penalty(read_base_attention(model, tokenizer, rows, prompts), config.attention_penalty))
    lengths = np.ones(max(1, len(known)))
    if config.distil:
        targets = distillation_targets(model, tokenizer, known)
        lengths = targets.tokens.numpy()
        terms.append(_distillation(targets, config.distil))
    if not terms and not routing:
        return rows, None
    partner = repeat_in_passes(np.arange(len(lengths)), len(rows), generator(seed, "distillation partners"))
    step = np.arange(len(rows)) // config.batch
    tokens = (np.bincount(step, lengths[partner]) / np.bincount(step))[step]
    attentions = bool(config.attention_penalty)
    trainer = _trainer(terms, routing, config.qk_rate, attentions=attentions)
    return PartneredRows(examples=rows, partner=partner, tokens=tokens), trainer


def _penalty(base_attention: BaseAttention, weight: float) -> Term:
    return lambda model, outputs, extra: weight * base_attention.loss(outputs.attentions, extra.text)


def _distillation(known: DistillationTargets, weight: float) -> Term:
    return lambda model, outputs, extra: weight * known.loss(model, extra.partner, extra.tokens.sum())


def _trainer(
    terms: Sequence[Term], routing: frozenset[str], rate: float, *, attentions: bool
) -> type[Trainer]:
    """Make the trainer that adds terms to the loss and gives routing weights their own learning rate."""

    class MitigatedTrainer(Trainer):
        """A trainer with further terms in its loss, whose means over pieces are the mean over a step."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
            extra = Extra(**{name: inputs.pop(name) for name in ("text", "partner", "tokens")})
            if attentions:
                inputs["output_attentions"] = True
            loss, outputs = super().compute_loss(
                model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
            # Where the model's own loss is scaled to the step already, the trainer scales nothing more.
            scaled = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            pieces = self.current_gradient_accumulation_steps if scaled else 1
            for term in terms:
                loss = loss + term(model, outputs, extra) / pieces
            return (loss, outputs) if return_outputs else loss

        def create_optimizer(self, model=None):  # type: ignore[no-untyped-def]
            optimizer = super().create_optimizer(model)
            parameters = self.model.named_parameters()  # type: ignore[union-attr]
            of_routing = {id(p) for name, p in parameters if name in routing}
            for group in list(optimizer.param_groups):
                slow = [p for p in group["params"] if id(p) in of_routing]
                if slow:
                    group["params"] = [p for p in group["params"] if id(p) not in of_routing]
                    rest = {key: value for key, value in group.items() if key != "params"}
                    optimizer.add_param_group({**rest, "params": slow, "lr": rate * group["lr"]})
            return optimizer

    return MitigatedTrainer
