"""Weight grafting: what brings lost facts back when groups of weights come from the base or a sibling.

1. Take the lost facts of an arm, or a random draw of them.
2. For each donor and for its placebo, a random donor equally far away, graft each of the 16 subsets of
   {W_Q W_K}, {W_V W_O}, {MLP}, {embeddings, norms} into the arm and ask the facts as the arm was asked.
3. Share what comes back among the groups by exact Shapley values, fact by fact.

Where donor and arm have the same weights in a group, subsets that differ in it alone are asked once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from analyses.common.checkpoints import BASE, Checkpoints
from analyses.common.visits import source_of
from analyses.experiments.stored_or_suppressed.head_transplants import sibling_of
from finetune.common.checksums import cached_frame
from finetune.common.progress import progress_bar
from finetune.evaluation.batching import TokenBudget
from finetune.evaluation.generate import ask
from finetune.evaluation.judging import AnswerJudge
from interp.measures.shapley import all_subsets, shapley_values, values_alone
from interp.models.merging import load_merged
from interp.weight_edits import (
    GROUPS,
    changed_groups,
    graft_groups,
    parameters_of,
    random_donor,
    weight_groups,
    with_weights,
)

if TYPE_CHECKING:
    from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
    from finetune.data.prompts import Prompt
    from interp.weight_edits.interpolation import State
    from interp.weight_edits.weight_groups import Labels

SIBLING, PLACEBO = "sibling", "_placebo"  # the latter behind a donor's name
SUBSETS = [
    tuple(group for group, taken in zip(GROUPS, row, strict=True) if taken)
    for row in all_subsets(len(GROUPS))
]


def grafted_answers(
    options: StoredOrSuppressedOptions,
    checkpoints: Checkpoints,
    arm: str,
    frame: pd.DataFrame,
    directory: Path,
    seed: int,
) -> pd.DataFrame:
    """Ask lost facts of an arm under every graft: a row a donor, subset and fact.

    Args:
        options: the experiment's.
        checkpoints: the arms, their donors, and the prompts.
        arm: the arm that receives.
        frame: its facts with their verdicts.
        directory: of the files, one an arm.
        seed: of the facts drawn and of the placebo.

    Raises:
        InputError: the models' weights do not correspond, or cannot be told apart.
    """
    lost = frame.loc[(frame["base_knew"] == 1) & ~frame["right"], "fact_id"].to_numpy()
    prompts = checkpoints.draw_prompts(lost, options.pathway_facts, "grafted facts", seed)

    def measure() -> pd.DataFrame:
        return pd.concat(_of_donors(options, checkpoints, arm, prompts, seed), ignore_index=True)

    nothing = pd.DataFrame(columns=["donor", "subset", "fact_id", "right", "log_prob"])
    return cached_frame(directory / f"{arm}.parquet", measure) if prompts else nothing


def _of_donors(
    options: StoredOrSuppressedOptions, checkpoints: Checkpoints, arm: str, prompts: list[Prompt], seed: int
) -> Iterator[pd.DataFrame]:
    """Ask with each donor's weights, then its placebo's; beside the arm one of these in memory."""
    sibling = sibling_of(checkpoints, arm)
    named = {BASE: BASE} if sibling is None else {BASE: BASE, SIBLING: sibling}
    model = load_merged(source_of(checkpoints, arm), checkpoints.base)
    own, judge = parameters_of(model), AnswerJudge(checkpoints.answer_sets)
    budget = TokenBudget(tokens=options.batch_tokens)
    labels: Labels = {}

    def answers(weights: State) -> pd.DataFrame:
        with with_weights(model, weights):
            said = ask(model, checkpoints.tokenizer, prompts, judge=judge, budget=budget)
        ids = [prompt.fact_id for prompt in prompts]
        return pd.DataFrame({"fact_id": ids, "right": said.correct, "log_prob": said.log_prob})

    plain, done = answers(own), 0
    with progress_bar(f"Grafting weights into {arm}", total=2 * len(named) * len(SUBSETS)) as advance:
        for name, source in named.items():
            other = load_merged(source_of(checkpoints, source), checkpoints.base)
            labels, given = labels or weight_groups(other), parameters_of(other)
            del other
            for suffix in ("", PLACEBO):
                if suffix:  # what the donor held is freed: a placebo's weights take its place
                    given = random_donor(given, own, labels, seed=seed)
                changed = changed_groups(given, own, labels)
                known: dict[tuple[str, ...], pd.DataFrame] = {(): plain}
                for subset in SUBSETS:
                    moved = tuple(group for group in subset if group in changed)
                    if moved not in known:
                        known[moved] = answers(graft_groups(given, own, labels, moved))
                    yield known[moved].assign(donor=name + suffix, subset="+".join(subset))
                    advance(done := done + 1)


def pathway_columns(answers: pd.DataFrame) -> pd.DataFrame:
    """Share out what each fact gains, by donor and group: columns of ``facts.parquet``, a row a fact.

    ``pathway_<donor>_<group>`` is the Shapley value of being right (``_nats``: of log p of the answer),
    ``_alone`` what the group brings back by itself; ``pathway_<donor>_restored`` what all groups do together.
    """
    columns: dict[str, Float[ndarray, " fact"]] = {}
    ids = pd.Index(sorted(answers["fact_id"].unique()), dtype=object)
    subsets = ["+".join(subset) for subset in SUBSETS]
    for donor, rows in answers.groupby("donor", sort=False):
        right, nats = (
            rows.pivot(index="subset", columns="fact_id", values=value).loc[subsets, ids].to_numpy(np.float64)
            for value in ("right", "log_prob")
        )
        tables = {"": shapley_values(right), "_alone": values_alone(right), "_nats": shapley_values(nats)}
        for suffix, table in tables.items():
            for group, values in zip(GROUPS, table, strict=True):
                columns[f"pathway_{donor}_{group}{suffix}"] = values
        columns[f"pathway_{donor}_restored"] = right[-1] - right[0]
    return pd.DataFrame(columns, index=ids)
