"""Is a verdict right where the truth is known by construction?

    python analyses/planted_truth.py --out runs/planted

1. Draw a world, keep some subjects out of all text (never stored), and pretrain a base on the others.
2. Plant three models: facts suppressed in every form (only W_Q and W_K trained), suppressed in the asked form
   alone, and erased (only W_V, W_O and the MLPs trained). Facts of the other relations are kept.
3. Diagnose each against the base, on present and absent subjects.
4. Compare verdicts with the truth: confusion matrix, precision, recall, false positives, and the area under
   the ROC curve of every kind of evidence.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analyses.making import Common
from analyses.shell import launch
from finetune.facts import InputError
from finetune.options import Count, InnerShare


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Is a verdict right where the truth is known by construction?"""

    out: Path = Path("runs/planted_truth")
    """Run directory; the same command continues it."""
    world: Literal["long-tail", "tiny"] = "long-tail"
    """Which embedded world; numbers of the tiny one mean nothing."""
    subjects: Count = 750
    """How many subjects to diagnose, absent ones in their share, with all their facts."""
    absent: InnerShare = 0.12
    """Share of subjects that pretraining never meets."""
    met: Count = 30
    """A fact counts as stored if pretraining met it this often and the base states it in every form."""
    alpha: InnerShare = 0.05
    """Share of facts that are not stored which may be called stored."""
    pretrain_steps: Count | None = None
    """Override the world's pretraining steps."""
    plant_steps: Count | None = None
    """Override the steps of every planting."""


def run(options: Options) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option is wrong; nothing has been written.
    """
    import pandas as pd

    from analyses.verdicts.planted import measure_seed, summarise
    from analyses.verdicts.planted_page import study
    from finetune.files import atomic_file, write_json
    from finetune.manifest import RunDirectory
    from interp.study_page import write_study

    options.check()
    directory = RunDirectory(options.out, options.config(), analysis="planted_truth")
    if directory.finished:
        return options.out
    about: dict[str, Any] = {"seeds": options.seeds, "setting": f"world {options.world}, planted facts"}
    try:
        directory.write(**about)
        frames = [measure_seed(options, directory, seed) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    frame = pd.concat(frames, ignore_index=True)
    results = summarise(frame)
    with atomic_file(directory.path / "facts.parquet") as path:
        frame.to_parquet(path)
    write_json(directory.path / "results.json", results)
    directory.write(**about)
    write_study(directory.path, study(frame, results))
    directory.write(finished=True, **about)
    return options.out


def main() -> int:
    """Run from the command line and print the finding and where the report is."""
    return launch(Options, run, _headline)


def _headline(out: Path) -> object:
    import pandas as pd

    from analyses.verdicts.planted_page import study
    from finetune.files import read_json
    from interp.study import headline

    return headline(study(pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json")))


if __name__ == "__main__":
    sys.exit(main())
