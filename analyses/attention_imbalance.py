"""Where did attention leave the subject, and what did that cost?

    python analyses/attention_imbalance.py --out runs/demo

1. Make or take a base and its fine-tuned arms.
2. Ask each the same held-out facts.
3. Measure the last prompt token's attention to the subject.
4. Put the top arm's attention rows into the bottom arm, and a wrong subject's rows as the placebo.
5. Write the run directory and its report.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analyses.settings import Options
from analyses.shell import launch
from finetune.facts import InputError


def run(options: Options) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """
    from analyses.settings import load_facts
    from finetune.manifest import RunDirectory

    options.check()
    facts = load_facts(options)
    config = {**options.config(), "facts_digest": facts.digest if facts else None}
    directory = RunDirectory(
        options.out, config, analysis="attention_imbalance", inputs={"base": options.base, **options.own}
    )
    if directory.finished:
        return options.out
    from analyses.imbalance import measure_seed, write_results  # these take torch along
    from analyses.sharding import processes

    team = processes()
    if team.count > 1 and not (options.base or options.checkpoints):
        raise InputError(
            "several processes measure checkpoints but do not train; run this once without a launcher"
        )
    team.wait()
    try:
        if team.is_main:
            directory.write(seeds=options.seeds)
        seeds = [measure_seed(options, facts, directory, seed, team=team) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    if team.is_main:
        write_results(options, facts, directory, seeds)
    team.wait()
    return options.out


def main() -> int:
    """Run from the command line and print the headline table and where the report is."""
    return launch(Options, run, _headline)


def _headline(out: Path) -> object:
    from interp.report import Run, headline_table

    return headline_table(Run.load(out))


if __name__ == "__main__":
    sys.exit(main())
