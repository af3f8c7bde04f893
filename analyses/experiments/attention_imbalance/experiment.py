"""The experiment attention_imbalance: its steps, numbers and report put together."""

from __future__ import annotations

from operator import methodcaller
from pathlib import Path
from typing import Any

from analyses.common.claims import claims_on_arms
from analyses.common.experiment import Experiment
from analyses.common.summary import summarise
from analyses.experiments.attention_imbalance.checkpoints import load_inputs
from analyses.experiments.attention_imbalance.stages import measure_seeds, require_one_process_to_train
from finetune.common.progress import progress_bar
from interp.reports.pages.report import draw, headline_table, report, write_figures
from interp.reports.pages.study_files import write_claims
from interp.reports.read.results import Results
from interp.reports.read.run import Run


def publish(run: Path, results: dict[str, Any]) -> None:
    """Write what the numbers decide, the figures and the report."""
    write_claims(run, claims_on_arms(Results.of(results)))
    with progress_bar("Drawing the figures and the report", total=2) as advance:
        drawn = draw(run)
        write_figures(run, drawn=drawn)
        advance(1)
        report(run, drawn=drawn)


EXPERIMENT = Experiment(
    name="attention_imbalance",
    resolve=methodcaller("resolved"),
    load=load_inputs,
    accept=require_one_process_to_train,
    steps=measure_seeds,
    summarise=summarise,
    publish=publish,
    headline=lambda out: headline_table(Run.load(out)),
    shared=True,
)
