"""Numbers of verdicts that several experiments give: who is stored, and how far above never-stored facts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from interp.stats import Estimate, difference_of_means
from interp.verdicts.diagnosis import STORED


def is_stored(rows: pd.DataFrame) -> pd.Series[Any]:
    """Mark lost facts that are stored in some degree.

    By a former rule, archives of before the evening of 29 November 2026 also call those *eroded* that are
    stated in no form.
    """
    return rows["verdict"].isin(STORED) & (rows["stated_share"] > 0)


def stored_above_never(lost: pd.DataFrame, never: pd.DataFrame) -> Estimate:
    """Estimate the share of lost facts that are stored less that of never-stored facts that are stated."""
    called = pd.concat([is_stored(lost), never["stated_share"] > 0]).to_numpy(np.float64)
    groups = pd.concat([lost["subject"], never["subject"]]).to_numpy()
    return difference_of_means(called, np.arange(len(called)) < len(lost), groups=groups)
