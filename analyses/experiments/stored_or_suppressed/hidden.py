"""Hidden knowledge of facts that arms kept and lost: what base and arm rank right, outside and inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analyses.common.checkpoints import BASE
from analyses.common.numbers import Tree, mean_of
from analyses.common.visits import OpenCheckpoints
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.common.checksums import cached_frame
from finetune.common.seeds import generator
from interp.measures.hidden_knowledge import WRONG, hidden_knowledge
from interp.reports.pages.results_tables import results_table
from interp.reports.pages.study import StudyTable
from interp.reports.read.results import Results
from interp.verdicts.diagnosis import RETAINED, STORED

OF_BASE = "base_"
SCORED = ("external", "internal", "external_swapped", "internal_swapped", "internal_permuted")


def with_hidden_knowledge(
    options: StoredOrSuppressedOptions,
    models: OpenCheckpoints,
    arm: str,
    frame: pd.DataFrame,
    directory: Path,
    seed: int,
) -> pd.DataFrame:
    """Add K and K* of a draw of facts, half of them known to the base, in the arm and in the base.

    Args:
        options: the experiment's.
        models: the open checkpoints.
        arm: whose facts they are.
        frame: the arm's facts with their verdicts.
        directory: of the files, one a checkpoint.
        seed: of all draws.
    """
    known = frame["base_knew"] == 1
    drawn = frame.iloc[generator(seed, "hidden facts").permutation(len(frame))]
    most = options.hidden_facts // 2
    ids = set(drawn[known[drawn.index]]["fact_id"][:most]) | set(drawn[~known[drawn.index]]["fact_id"][:most])
    checkpoints = models.checkpoints
    prompts = [prompt for prompt in checkpoints.prompts if prompt.fact_id in ids]
    knows = dict(zip(frame["fact_id"], known, strict=True))

    def measure(name: str) -> pd.DataFrame:
        with models.opened(name, beside=arm) as found:
            return hidden_knowledge(
                found.model,
                found.tokenizer,
                prompts,
                checkpoints.answer_sets,
                np.array([knows[prompt.fact_id] for prompt in prompts]),
                batch_tokens=options.batch_tokens,
                seed=seed,
            )

    for name, prefix in ((arm, ""), (BASE, OF_BASE)):
        table = cached_frame(directory / f"{name}.parquet", lambda name=name: measure(name))  # type: ignore[misc]
        frame = frame.join(table.set_index("fact_id").add_prefix(prefix), on="fact_id")
    return frame


def hidden_numbers(rows: pd.DataFrame) -> Tree:
    """Average K, K* and what is hidden, internal less external, by what became of the facts."""
    if "k_external" not in rows or rows["k_external"].isna().all():
        return {}
    lost = (rows["base_knew"] == 1) & ~rows["right"]
    groups = {
        "retained": rows["verdict"] == RETAINED,
        "lost": lost,
        "lost_stored": lost & rows["verdict"].isin(STORED),
        "never": rows["control_never"],
    }
    tree: Tree = {}
    for name, chosen in groups.items():
        some = rows[chosen & rows["k_external"].notna()]
        made: Tree = {}
        for prefix in ("", OF_BASE):
            made |= {f"{prefix}k_{how}": mean_of(some[f"{prefix}k_{how}"], some) for how in SCORED}
            made |= {
                f"{prefix}k_star_{how}": mean_of(some[f"{prefix}k_star_{how}"], some) for how in SCORED[:2]
            }
            hidden = some[f"{prefix}k_internal"] - some[f"{prefix}k_external"]
            made[f"{prefix}hidden_difference"] = mean_of(hidden, some, difference=True)
        tree[name] = made
    return tree


def hidden_table(results: Results) -> StudyTable:
    """Lay out what the arm and the base rank right of each group of facts."""
    columns = {"K, outside": "k_external", "K, inside": "k_internal", "hidden": "hidden_difference"}
    shown = {
        f"{whose} {title}": (prefix + name, "2?")
        for whose, prefix in (("Arm:", ""), ("Base:", OF_BASE))
        for title, name in columns.items()
    }
    return results_table(
        "Hidden knowledge: what is ranked right by answer probabilities and by a probe",
        ("Arm", "Facts"),
        {
            (arm, group.replace("_", ", ")): part
            for arm, numbers in results.below("arms").items()
            for group, part in numbers.below("hidden").items()
        },
        {
            **shown,
            "K*, outside": ("k_star_external", "2?"),
            "K*, inside": ("k_star_internal", "2?"),
            "Swapped names, outside": ("k_external_swapped", "2?"),
            "Swapped names, inside": ("k_internal_swapped", "2?"),
            "Permuted labels": ("k_internal_permuted", "2?"),
        },
        note=f"K: share of {WRONG} wrong answers of the relation that the right one beats (0.5 by chance); "
        "K*: it beats all. Inside: a linear probe at two thirds of the layers, trained on known facts of "
        "other relations and subjects. Controls: another subject's name, and a probe of permuted labels.",
    )
