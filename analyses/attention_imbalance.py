"""Where did attention leave the subject, and what did that cost?

    python analyses/attention_imbalance.py --out runs/demo

1. Make or take a base and its fine-tuned arms.
2. Ask each the same held-out facts.
3. Measure the last prompt token's attention to the subject.
4. Put the top arm's attention rows into the bottom arm, and a wrong subject's rows as the placebo.
5. Write the run directory and its report.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from analyses.settings import Options
from finetune.facts import InputError

CONTINUES = "finished stages are kept, the same command continues"


def run(options: Options) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """
    from analyses.imbalance import measure_seed, write_results
    from analyses.settings import load_facts
    from analyses.sharding import processes
    from finetune.manifest import RunDirectory

    options.check()
    facts = load_facts(options)
    config = {**options.config(), "facts_digest": facts.digest if facts else None}
    directory = RunDirectory(options.out, config)
    if directory.finished:
        return options.out
    team = processes()
    if team.count > 1 and not options.base:
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
    """Parse the command line, run, and print the headline table and where the report is."""
    import tyro

    try:
        options = tyro.cli(Options, description=Options.__doc__)
        _prepare_process(options)
        out = run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted; {CONTINUES}", file=sys.stderr)
        return 130
    except Exception as error:
        # A full disk reaches us as OSError, or as the error of whichever library was writing.
        if not isinstance(error, OSError) and "No space left" not in str(error):
            raise
        print(f"error: {error}; {CONTINUES}", file=sys.stderr)
        return 2
    if not options.quiet and int(os.environ.get("RANK", "0")) == 0:
        from rich.console import Console

        from interp.report import Run, headline_table

        console = Console()
        console.print(headline_table(Run.load(out)))
        console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    return 0


def _prepare_process(options: Options) -> None:
    """Silence the libraries' own bars and keep off the network unless the hub was asked for."""
    from finetune.progress import QUIET

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if options.quiet:
        os.environ[QUIET] = "1"
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


if __name__ == "__main__":
    sys.exit(main())
