"""Where did attention leave the subject, and what did that cost?

    python analyses/attention_imbalance.py --out runs/demo

1. Make or take a base and its fine-tuned arms. 2. Ask each the same held-out facts. 3. Measure the last
prompt token's attention to the subject. 4. Put the top arm's attention rows into the bottom arm, and a
wrong subject's rows as the placebo. 5. Write the run directory and its report.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from analyses.settings import Options, default_cache, load_facts, setting_for
from finetune.facts import FactSet, InputError
from finetune.manifest import RunDirectory


def run(options: Options) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """
    facts = load_facts(options)
    directory = RunDirectory(
        options.out, {**options.config(), "facts_digest": facts.digest if facts else None}
    )
    if directory.finished:
        return options.out
    for seed in options.seeds:
        _one_seed(options, facts, directory, seed)
    _finish(options, facts, directory)
    return options.out
