"""Numbers of verdicts that several experiments give: who is stored, and how far above never-stored facts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from interp.stats import Estimate, difference_of_means, estimate
from interp.verdicts.diagnosis import STORED


def is_stored(rows: pd.DataFrame) -> pd.Series[Any]:
    """Mark lost facts that are stored in some degree.

    Archives of before 30 November 2026 are by former rules: a fact is stated in a form only where its answer
    is tied to the subject as well; of before the evening of the 29th *eroded* are also some that are stated
    in no form.
    """
    return rows["verdict"].isin(STORED) & (rows["stated_share"] > 0)


def stored_above_never(lost: pd.DataFrame, never: pd.DataFrame) -> Estimate:
    """Estimate the share of lost facts that are stored less that of never-stored facts that are stated."""
    called = pd.concat([is_stored(lost), never["stated_share"] > 0]).to_numpy(np.float64)
    groups = pd.concat([lost["subject"], never["subject"]]).to_numpy()
    return difference_of_means(called, np.arange(len(called)) < len(lost), groups=groups)


def stated_apart(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Estimate how often wrong facts are stated in a form that did not say what the base knew of them.

    Every form of evidence is looked at in its turn, and what counts as lost or never stored there is what the
    base's answers in the *other* forms say (cross-fitting): a rate is a share of facts and forms. Tables of
    before the evening of 29 November 2026 lack what it takes: nothing is estimated.
    """
    wrong = rows[~rows["right"].astype(bool)]
    parts = [
        wrong.loc[
            wrong[name].fillna(False).astype(bool), ["subject", f"states_form_{name.rpartition('_')[2]}"]
        ]
        .set_axis(["subject", "stated"], axis=1)
        .assign(lost=name.startswith("known"))
        for name in map(str, rows)
        if name.startswith(("known_apart_", "never_apart_"))
    ]
    cells = pd.concat(parts).dropna() if parts else pd.DataFrame(columns=["subject", "stated", "lost"])
    lost = cells["lost"].to_numpy(bool)
    stated, groups = cells["stated"].to_numpy(np.float64), cells["subject"].to_numpy()
    return {
        "lost": estimate(stated[lost], groups=groups[lost]),
        "never": estimate(stated[~lost], groups=groups[~lost]),
        "difference": difference_of_means(stated, lost, groups=groups),
    }
