"""An archived study's numbers: over seeds, or each seed's own, and what a difference's interval decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.verdict_numbers import is_stored, stored_above_never
from analyses.experiments.popularity_splits.archive import read_archive, read_verdicts
from analyses.experiments.popularity_splits.numbers import select_rates_by_validation, summarise
from finetune.common.errors import InputError
from interp.reports.pages.study import decide
from interp.reports.read.results import Number, Results
from interp.stats import (
    Estimate,
    estimate,
    is_equivalent,
    kappa,
    over_seeds,
    overlap_of,
    p_value,
    spearman,
)

ARMS = {"base", "top", "bottom", "whole", "random"}
PLACEBO = "shuffled_top"
MARGIN = 0.02  # of "no difference", stated before the study ran (docs/primary_endpoints.md)
POOLED = 3  # seeds from which numbers are over seeds


@dataclass(frozen=True, kw_only=True)
class StudyNumbers:
    """A study's numbers below one data set, model, method and share: over seeds, and each seed's.

    Of several learning rates ``records`` and ``rows`` are of those that validated best; ``cpu_seconds`` are
    those of all.
    """

    pooled: Results
    seeds: dict[int, Results]
    overlap: float
    records: list[dict[str, Any]]
    rows: pd.DataFrame
    cpu_seconds: float
    lost: dict[int, dict[str, Estimate]]
    agreement: dict[str, Estimate]

    @classmethod
    def load(cls, folder: Path) -> StudyNumbers:
        """Read an archive; of seeds that lack an arm nothing is taken, but the placebo may come later.

        Raises:
            InputError: no cell is there, cells of several settings are, or no seed is whole.
        """
        frame, records = read_archive(folder)
        arms = frame.groupby("seed")["arm"].agg(set)
        whole = [int(str(seed)) for seed, there in arms.items() if there >= ARMS]
        if not whole:
            raise InputError(f"{folder}: no seed has all of its arms yet; continue the study")
        place = _place(folder, frame)
        rows = select_rates_by_validation(frame[frame["seed"].isin(whole)]).reset_index(drop=True)
        cells = ["arm", "seed", "learning_rate"]
        chosen = set(rows[cells].itertuples(index=False, name=None))
        records = [record for record in records if record["seed"] in whole]
        tree = Results.of(summarise(rows))
        verdicts = {seed: found for seed, found in read_verdicts(folder).items() if seed in whole}
        return cls(
            pooled=tree.part(place),
            seeds={seed: tree.part(f"seeds/{seed}/{place}") for seed in whole},
            overlap=overlap_of(rows),
            records=[record for record in records if tuple(record[name] for name in cells) in chosen],
            rows=rows,
            cpu_seconds=sum(record["cpu_seconds"] for record in records),
            lost={seed: lost_fact_endpoints(found) for seed, found in verdicts.items()},
            agreement=seed_agreement(verdicts),
        )

    @property
    def without_placebo(self) -> list[int]:
        """The seeds whose placebo is not finished."""
        there = set(self.rows.loc[self.rows["arm"] == PLACEBO, "seed"])
        return [seed for seed in self.seeds if seed not in there]

    @property
    def is_pooled(self) -> bool:
        """Whether there are enough seeds for numbers over seeds."""
        return len(self.seeds) >= POOLED

    @property
    def shown(self) -> dict[str, Results]:
        """What is shown, by what it is of: all seeds together, or each."""
        if self.is_pooled:
            return {f"{len(self.seeds)} seeds": self.pooled}
        return {f"seed {seed}": part for seed, part in self.seeds.items()}

    def p(self, place: str) -> float:
        """Return a number's p-value over seeds; NaN of fewer than three."""
        if not self.is_pooled:
            return float("nan")
        found = [Estimate(**part.at(place)) for part in self.seeds.values()]
        return p_value(found, overlap=self.overlap)

    def of_lost(self, name: str) -> tuple[dict[str, Estimate], float]:
        """Return an endpoint of lost facts, by what it is of, and its p-value over seeds."""
        found = [numbers[name] for numbers in self.lost.values()]
        if len(found) < POOLED:
            return {f"seed {seed}": numbers[name] for seed, numbers in self.lost.items()}, float("nan")
        pooled = over_seeds(found, bounds=(-1, 1), overlap=self.overlap)
        return {f"{len(found)} seeds": pooled}, p_value(found, overlap=self.overlap)


def _place(folder: Path, frame: pd.DataFrame) -> str:
    """Name the one setting of an archive: data set, model, method and share of its halves.

    Raises:
        InputError: it holds cells of several.
    """
    trained = frame[frame["arm"] != "base"]
    of = ["dataset", "model", "method"]
    settings = sorted("/".join(each) for each in set(trained[of].itertuples(index=False, name=None)))
    shares = sorted({f"{share:g}" for share in trained.loc[trained["arm"] != "whole", "fraction"]})
    if len(settings) > 1 or len(shares) > 1:
        told = ", ".join(settings) if len(settings) > 1 else f"shares {', '.join(shares)}"
        raise InputError(f"{folder}: holds several settings ({told}); give each a folder of its own")
    return f"{settings[0]}/{shares[0]}"


STORED_ABOVE_CONTROLS, QK_ABOVE_PLACEBO = "stored", "qk"


def lost_fact_endpoints(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Return endpoints 4 and 5 of one seed, from the verdicts on its unpopular half.

    4: the share of lost facts that are stored in some degree, less the share of never-stored facts that are
    stated in some held-out form. 5: the Shapley share of the base's {W_Q W_K} less its placebo's.
    """
    lost = (rows["base_knew"] == 1) & ~rows["right"]
    grafted = rows.loc[lost].reindex(columns=["pathway_base_qk", "pathway_base_placebo_qk"])
    above = grafted["pathway_base_qk"] - grafted["pathway_base_placebo_qk"]
    return {
        STORED_ABOVE_CONTROLS: stored_above_never(rows[lost], rows[rows["control_never"]]),
        QK_ABOVE_PLACEBO: estimate(
            above.to_numpy(np.float64), groups=rows.loc[lost, "subject"].to_numpy(), difference=True
        ),
    }


def seed_agreement(verdicts: Mapping[int, pd.DataFrame]) -> dict[str, Estimate]:
    """Measure how far the trainings of two seeds agree about a fact that both held out and the base knew.

    A row is a fact of a pair of seeds; all pairs count, and intervals draw whole subjects. The trainings
    differ in their training facts, too. Empty of fewer than two seeds.
    """
    told = [rows.assign(stored=is_stored(rows)) for rows in verdicts.values()]
    pairs = [a.merge(b, on=("fact_id", "subject")) for a, b in combinations(told, 2)]
    if not pairs:
        return {}
    rows = pd.concat(pairs, ignore_index=True)
    rows = rows[(rows["base_knew_x"] == 1) & (rows["base_knew_y"] == 1)]
    wrong = [~rows[name].astype(bool) for name in ("right_x", "right_y")]
    lost = rows[wrong[0] & wrong[1]]
    stored = [lost[name].to_numpy(np.float64) for name in ("stored_x", "stored_y")]
    own = lost["subject"].to_numpy()
    shares = [lost[name].to_numpy(np.float64) for name in ("stated_share_x", "stated_share_y")]
    return {
        "lost": kappa(*(each.to_numpy(np.float64) for each in wrong), groups=rows["subject"].to_numpy()),
        "stored": kappa(*stored, groups=own),
        "stated": spearman(*shares, groups=own),
    }


def outcome(number: Number) -> str:
    """Say what a difference's interval decides, see docs/primary_endpoints.md."""
    decided = decide(number)
    if not is_equivalent(Estimate(**number), MARGIN):
        return decided
    return "no difference" if decided == "inconclusive" else f"{decided}, within the margin"
