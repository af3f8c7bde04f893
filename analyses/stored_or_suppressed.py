"""Of the facts that each fine-tuned arm lost, which are still stored but suppressed?

    python analyses/stored_or_suppressed.py --run runs/demo --out runs/verdicts
    python analyses/stored_or_suppressed.py --base DIR --finetuned mine=DIR --facts my.csv --out runs/mine

1. Take the arms of a finished run of attention_imbalance, or make them, or take somebody's own checkpoints.
2. Diagnose every arm on its held-out facts, with another arm as its sibling where there is one.
3. Transplant the sibling's (or the base's) attention into suppressed facts head by head, with the placebo.
4. Relate verdicts to popularity and to the change of attention to the subject, and show examples.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from analyses.making import SHOWN_OR_KEPT, wordings_config
from analyses.settings import Options as Settings
from analyses.shell import launch
from finetune.facts import InputError
from finetune.options import CountOrNone, InnerShare, Within, refuse_unread, require_valid


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Of the facts that each fine-tuned arm lost, which are still stored but suppressed?

    With --run: the arms of a finished run of attention_imbalance. Without: as attention_imbalance itself, an
    embedded world, real facts (--facts), or your own checkpoints (--base, --finetuned, --facts).
    """

    out: Path = Path("runs/stored_or_suppressed")
    """Run directory; the same command continues it."""
    run: Path | None = None
    """A finished run of attention_imbalance, whose settings and checkpoints are used."""
    alpha: InnerShare = 0.05
    """Share of facts that are not stored which may be called stored."""
    shots: Annotated[int, Within(0, 1000)] = 0
    """Also ask with this many solved examples in front (for models that understand them)."""
    grid_facts: CountOrNone = 200
    """How many suppressed facts to transplant head by head."""

    def resolved(self) -> Options:
        """Take the settings of ``run``, if one is named.

        Raises:
            InputError: the directory holds no finished run.
        """
        if self.run is None:
            return self
        from finetune.files import read_json

        require_valid(self)
        manifest = self.run / "manifest.json"
        try:
            found = read_json(manifest) if manifest.is_file() else {}
            held = found["config"] if found.get("finished") else None
        except (ValueError, LookupError, AttributeError):
            held = None
        if not isinstance(held, dict):
            raise InputError(
                f"--run {self.run}: holds no finished run of attention_imbalance; finish it first"
            )
        names = {field.name for field in fields(Settings)} - SHOWN_OR_KEPT
        taken: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in held.items() if k in names
        }
        for name in ("checkpoints", "phrasebook"):
            if taken.get(name):
                taken[name] = Path(taken[name])
        differing = [name for name, value in taken.items() if getattr(self, name) != value]
        refuse_unread(
            self, set(differing) - {"phrasebook"}, f"--run {self.run} has its own settings; leave this out"
        )
        self._require_same_wordings(taken.get("phrasebook"), held.get("phrasebook_digest"))
        return replace(self, **taken)

    def _require_same_wordings(self, path: Path | None, digest: str | None) -> None:
        if self.phrasebook not in (None, path):
            raise InputError(
                f"--phrasebook {self.phrasebook}: --run {self.run} has its own wordings; leave this option "
                "out"
            )
        if path is None:
            return
        if not path.expanduser().is_file() or wordings_config(path)["phrasebook_digest"] != digest:
            raise InputError(
                f"--run {self.run}: was made with other wordings than are in {path} now; put that file back, "
                "or run attention_imbalance again"
            )

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {**super().config(), "run": None if self.run is None else str(self.run)}


def run(options: Options) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """
    from analyses.settings import load_facts
    from finetune.manifest import RunDirectory

    options = options.resolved()
    options.check()
    facts = load_facts(options)
    directory = RunDirectory(
        options.out,
        {**options.config(), "facts_digest": facts.digest if facts else None},
        analysis="stored_or_suppressed",
        inputs={"base": options.base, **options.own},
    )
    if directory.finished:
        return options.out
    from analyses.verdicts.suppression import measure_seed, write_results  # these take torch along

    try:
        directory.write(seeds=options.seeds)
        seeds = [measure_seed(options, facts, directory, seed) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    write_results(options, facts, directory, seeds)
    return options.out


def main() -> int:
    """Run from the command line and print the finding and where the report is."""
    return launch(Options, run, _headline)


def _headline(out: Path) -> object:
    from analyses.verdicts.suppression_page import load_study
    from interp.study import headline

    return headline(load_study(out))


if __name__ == "__main__":
    sys.exit(main())
