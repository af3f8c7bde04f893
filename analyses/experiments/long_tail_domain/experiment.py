"""The experiment long_tail_domain: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.long_tail_domain import cells, numbers, page

EXPERIMENT = Experiment(
    name="long_tail_domain",
    cells=cells.cells,
    measure=cells.measure,
    summarise=numbers.summarise,
    study=page.study,
)
