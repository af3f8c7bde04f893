"""Which facts should one fine-tune on? The paper's experiment on any data sets and models.

    python analyses/popularity_splits.py --facts popqa.tsv --out runs/splits
    python analyses/popularity_splits.py --yaml experiment.yaml --engine ray --address auto

1. Load every data set, give its facts the popularity that was asked for, and deal subjects into training,
   validation and held-out ones.
2. For every model, method, arm, share, learning rate and seed fine-tune, and ask the held-out facts: a cell,
   with a run directory of its own.
3. Let validation choose each arm's learning rate; compare arms on the same held-out facts.
4. Hand the chosen checkpoints to attention_imbalance and stored_or_suppressed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.lab.experiment import Experiment, main
from analyses.splits.cell import cells, measure
from analyses.splits.numbers import summarise
from analyses.splits.options import Options, arguments
from finetune.facts import InputError

if TYPE_CHECKING:
    import pandas as pd

    from finetune.facts import LeftOut
    from interp.study import Study


def prepare(options: Options, run: Path) -> list[LeftOut]:
    """Make what cells share: facts with their popularity, their parts, the base and what it knows."""
    from analyses.splits.prepared import prepare as prepare_all

    return prepare_all(options, run)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    from analyses.splits.page import study as page

    return page(frame, results)


def finish(options: Options, frame: pd.DataFrame, run: Path) -> dict[str, Any]:
    """Hand the chosen checkpoints on, look inside them, and return what the manifest tells of that."""
    from analyses.splits.feeding import analyse, hand_all_on

    handed = hand_all_on(options, frame, run)
    reports = analyse(options, handed, run)
    return {"handed_on": sorted(handed), "reports": reports}


EXPERIMENT = Experiment(
    name="popularity_splits",
    options=Options,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
    prepare=prepare,
    finish=finish,
)
run = EXPERIMENT.run


def given() -> list[str]:
    """Return the arguments of the command line, those of its --yaml file in front."""
    words = sys.argv[1:]
    for i, word in enumerate(words):
        flag, mark, value = word.partition("=")
        if flag == "--yaml":
            if not mark and i + 1 == len(words):
                raise InputError("--yaml: name a file of options")
            return [*arguments(Path(value if mark else words[i + 1])), *words]
    return words


if __name__ == "__main__":
    sys.exit(main("popularity_splits", arguments=given))
