"""Controls of a verdict: facts that nothing stores, and those among them that are like the lost ones.

Nothing is fitted on controls. What they say is how often a fact that nothing stores is stated all the same:
the false-positive rate of what is called stored.

- ``never``: all facts right in no form of the base, the right answer at chance among the relation's
  (:mod:`interp.verdicts.base_knowledge`), and wrong in the fine-tuned model.
- ``matched``: those of them that are like the lost ones. In rounds, every lost fact in the order of the
  table takes the nearest of those that are left, the first of equals: one round, and more as long as there
  are ``ENOUGH_CONTROLS`` at most. Near is what differs little in the log of how many facts of the relation
  have the fact's answer, and in the rank of its popularity where all facts have one, each over its standard
  deviation.
- ``unknown``: all that the base does not know in *every* form, and that are wrong in the fine-tuned model.
  Those that it states in some form are stored in part, so that their rate is no rate of errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from interp.verdicts.diagnosis import KnownAndSaid
from interp.verdicts.matching import likeness, match

if TYPE_CHECKING:
    from finetune.data.records.fact import Fact

NEVER, MATCHED, UNKNOWN = "never", "matched", "unknown"
CONTROLS = {
    NEVER: "facts right in no form of the base, at chance",
    MATCHED: "those of them that are like the lost facts in answer frequency and popularity",
    UNKNOWN: "facts that the base does not know in every form, some of them stored in part",
}
FEWEST_CONTROLS = 40  # of fewer a rate of 5% would be two facts


def control_sets(told: KnownAndSaid, facts: Sequence[Fact]) -> Bool[ndarray, "fact set"]:
    """Return who is in every set of controls, in the order of ``CONTROLS``.

    Args:
        told: what was known and said.
        facts: in the same order.
    """
    measured = ~np.isnan(told.stated_share)
    never = told.never & ~told.right & measured
    sets = {
        NEVER: never,
        MATCHED: match(told.lost & measured, never, likeness(facts)),
        UNKNOWN: ~told.known & ~told.right & measured,
    }
    return np.stack([sets[name] for name in CONTROLS], axis=1)
