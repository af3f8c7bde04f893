"""Selection scores by name, what each costs and needs; popularity where there is any, and the placebos.

Every score returns Float [fact], higher = keep, NaN where a fact cannot be scored. All but *popularity* are
*label-free*: they need no word from outside on how well a fact is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.loaders.table import UNNAMED
from interp.selection import behavioural_scores as knowledge
from interp.selection import internal_scores as inside
from interp.selection.candidates import Candidates


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score: what it is called, what it is, what it costs and what it cannot do without.

    ``forwards`` counts forward passes an example, which keep nothing for a backward pass. ``needs`` says
    what candidates must have (``subject``, ``relation``, ``popularity``) and that a base may be no adapter
    (``weights``); ``is_placebo`` marks scores that know nothing.
    """

    name: str
    compute: Callable[[Candidates], Float[ndarray, " fact"]]
    meaning: str
    forwards: float
    needs: tuple[str, ...] = ()
    unit: str = ""
    is_placebo: bool = False

    def unavailable(self, candidates: Candidates) -> str | None:
        """Say why the candidates cannot be scored by this, or None."""
        from finetune.checkpoints.loading import is_adapter

        if "subject" in self.needs and not candidates.subjects_known:
            return "needs to know what each question is about; add a column subject"
        if "relation" in self.needs and any(fact.relation == UNNAMED for fact in candidates.facts):
            return "needs to know how a fact is stated; add a column relation"
        if "popularity" in self.needs and any(fact.popularity is None for fact in candidates.facts):
            return "needs a popularity of every fact; add a column popularity"
        if "weights" in self.needs and is_adapter(candidates.base):
            return "needs the gradients of all weights; merge the adapter into its base"
        return None

    def require(self, candidates: Candidates) -> None:
        """Refuse candidates that lack what the score needs.

        Raises:
            InputError: says what, and what to do instead.
        """
        if reason := self.unavailable(candidates):
            raise InputError(f"score {self.name}: {reason}, or choose another score")

    def __call__(self, candidates: Candidates) -> Float[ndarray, " fact"]:
        """Score the candidates; what another score has found already is not computed again.

        Raises:
            InputError: they lack what the score needs, or the base cannot be loaded.
        """
        self.require(candidates)
        return candidates.cached(self.name, lambda: self.compute(candidates))


def popularity(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the facts' own popularity."""
    return np.array([fact.popularity for fact in candidates.facts], dtype=np.float64)


def random_score(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Draw a number for every fact."""
    return generator(candidates.seed, "random score").random(len(candidates.facts))


def shuffled_score(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Deal the statements' scores out anew within each relation: its mix of relations, but not its facts."""
    values = SCORES["statement"](candidates)
    rng, dealt = generator(candidates.seed, "shuffled score"), values.copy()
    relations = np.array([fact.relation for fact in candidates.facts])
    for relation in np.unique(relations):
        members = np.flatnonzero(relations == relation)
        dealt[members] = values[rng.permutation(members)]
    return dealt


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            name="statement",
            compute=knowledge.statement,
            meaning="log-probability of the answer in statements",
            forwards=3,
            needs=("subject", "relation"),
            unit="nats",
        ),
        Score(
            name="question",
            compute=knowledge.question,
            meaning="log-probability of the answer to the question, as fine-tuning asks it",
            forwards=1,
            unit="nats",
        ),
        Score(
            name="few_shot",
            compute=knowledge.few_shot,
            meaning="the same with solved examples of the relation in front",
            forwards=1,
            unit="nats",
        ),
        Score(
            name="consistency",
            compute=knowledge.consistency,
            meaning="HighlyKnown before MaybeKnown, WeaklyKnown and Unknown, under few-shot prompts",
            forwards=knowledge.DRAWS,
        ),
        Score(
            name="maybe_known",
            compute=knowledge.maybe_known,
            meaning="MaybeKnown before HighlyKnown, WeaklyKnown and Unknown, under few-shot prompts",
            forwards=knowledge.DRAWS,
        ),
        Score(
            name="consistency_stated",
            compute=knowledge.consistency_stated,
            meaning="HighlyKnown first, with statement forms as prompts",
            forwards=3,
            needs=("subject", "relation"),
        ),
        Score(
            name="maybe_stated",
            compute=knowledge.maybe_stated,
            meaning="MaybeKnown first, with statement forms as prompts",
            forwards=3,
            needs=("subject", "relation"),
        ),
        Score(
            name="readout",
            compute=inside.readout,
            meaning="value-readout salience: the answer's logit from the subject's values",
            forwards=1,
            needs=("subject",),
            unit="logits",
        ),
        Score(
            name="harm",
            compute=inside.harm,
            meaning="harm score m: does a step on it push attention off the subject?",
            forwards=3,
            needs=("subject",),
            unit="nats",
        ),
        Score(
            name="agreement",
            compute=inside.gradient_agreement,
            meaning="inner product of its gradient with that of known facts",
            forwards=3,
            needs=("weights",),
        ),
        Score(
            name="popularity",
            compute=popularity,
            meaning="popularity, as the table gives it",
            forwards=0,
            needs=("popularity",),
        ),
        Score(name="random", compute=random_score, meaning="a random draw", forwards=0, is_placebo=True),
        Score(
            name="shuffled",
            compute=shuffled_score,
            meaning="statements' log-probabilities dealt out anew within each relation",
            forwards=3,
            needs=("subject", "relation"),
            is_placebo=True,
        ),
    )
}
LABEL_FREE = tuple(name for name, s in SCORES.items() if not s.is_placebo and "popularity" not in s.needs)
DEFAULT = "statement"  # the best label-free score so far; docs/which_data.md says by what
# What stands in for it where subjects or relations are unknown: the scores that do without them, question and
# few_shot, chose worse than chance in both worlds where they were measured (docs/which_data.md).
WITHOUT_SUBJECT = "random"
