"""Which stand-ins for popularity agree with each other?

    python analyses/popularity_proxies.py --facts popqa.tsv --base path/or/hub-id --out runs/proxies
    python analyses/popularity_proxies.py --facts my.csv --corpus texts/ --proxies corpus answer_frequency

1. Measure every proxy that the facts, the base and the corpus allow, on every fact; docs/popularity.md says
   what each is. The first one dealt out among the subjects anew is the placebo.
2. Compare each pair: rank correlation, of all facts and within relations, and how much of the half that one
   calls popular the other calls popular too.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from analyses.shell import launch, show_study
from finetune.facts import InputError
from finetune.options import Count, Seed, Within, refuse_unread, require_valid

if TYPE_CHECKING:
    from analyses.splits.material import Material

_SHOWN_OR_KEPT = frozenset({"out", "quiet", "json", "color"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which stand-ins for popularity agree with each other?"""

    facts: str
    """Data set: popqa, or a file of facts."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    base: str | None = None
    """The base model, a directory or a hub id, for proxies that ask it."""
    corpus: Path | None = None
    """Text or JSON lines, gzipped or not, or a directory of them, for proxies that count in it."""
    text_field: str = "text"
    """The key of the text in the corpus' JSON lines."""
    proxies: tuple[str, ...] = ()
    """Which to measure (default: all that facts, base and corpus allow)."""
    limit: Count | None = None
    """Take a random draw of so many facts."""
    shots: Annotated[int, Within(0, 1000)] = 4
    """Solved examples in front of a question, for confidence_few."""
    seed: Seed = 0
    """Draws the examples and the placebo."""
    batch_tokens: Count = 8192
    """Bound on tokens a forward pass, hence on memory."""
    out: Path = Path("runs/popularity_proxies")
    """Run directory."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the run as one JSON object and nothing else; progress goes to standard error."""
    color: bool = True
    """Colours on a terminal; NO_COLOR in the environment turns them off too."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        from analyses.splits.proxies import PROXIES

        require_valid(self)
        if unknown := [name for name in self.proxies if name not in PROXIES]:
            raise InputError(f"--proxies {unknown[0]}: choose from {', '.join(PROXIES)}")
        if self.corpus is None:
            refuse_unread(self, ("text_field",), "goes with --corpus")
        if self.base is None:
            refuse_unread(self, ("shots",), "goes with --base")
        for name in ("base", "corpus"):
            if self.proxies and all(PROXIES[proxy].needs != name for proxy in self.proxies):
                refuse_unread(self, (name,), "none of the --proxies needs it; leave it out")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        told = {k: v for k, v in asdict(self).items() if k not in _SHOWN_OR_KEPT}
        return {**told, "corpus": None if self.corpus is None else str(self.corpus)}


def run(options: Options) -> Path:
    """Measure the proxies, compare them, and return the run directory.

    Raises:
        InputError: an option is wrong, or nothing can be compared; nothing has been written.
    """
    from analyses.splits.agreement import agreement
    from analyses.splits.agreement_page import study
    from analyses.splits.proxies import measured
    from finetune.files import atomic_file, write_json
    from finetune.manifest import RunDirectory
    from interp.study_page import write_study

    options.check()
    directory = RunDirectory(options.out, options.config(), analysis="popularity_proxies")
    if directory.finished:
        return options.out
    if options.base is not None:
        from interp.preflight import require_measurable

        require_measurable(options.base)
    material = _material(options)
    names = chosen(options, material)
    about: dict[str, Any] = {
        "seeds": (options.seed,),
        "setting": f"{len(material.facts):,} facts of {material.facts.name}",
    }
    directory.write(**about)  # first of all, so that a killed run can be continued
    try:
        with directory.timed("measuring"):
            frame = measured(names, material)
        with directory.timed("comparing"):
            results = agreement(frame)
    except InputError:
        directory.discard()
        raise
    with atomic_file(options.out / "facts.parquet") as path:
        frame.to_parquet(path)
    write_json(options.out / "results.json", results)
    about["left_out"] = (*material.facts.left_out, *material.left_out)
    directory.write(**about)
    write_study(options.out, study(results, facts=about["setting"]))
    directory.write(finished=True, **about)
    return options.out


def chosen(options: Options, material: Material) -> tuple[str, ...]:
    """Return the proxies asked for, or all that can be measured.

    Raises:
        InputError: one that is unknown or lacks what it needs, or fewer than two of them.
    """
    from analyses.splits.proxies import PROXIES, require

    given = {"": True, "base": options.base is not None, "corpus": options.corpus is not None}
    views = any(fact.popularity is not None for fact in material.facts)
    possible = (name for name, proxy in PROXIES.items() if given[proxy.needs] and (name != "views" or views))
    names = tuple(dict.fromkeys(options.proxies)) or tuple(possible)
    require(names, base=options.base, corpus=options.corpus)
    if len(names) < 2:
        raise InputError(f"--proxies {' '.join(names)}: give at least two to compare")
    return names


def _material(options: Options) -> Material:
    from analyses.splits.material import Material
    from finetune.facts import FactSet
    from finetune.sources.columns import mapping

    return Material(
        facts=FactSet.load(
            options.facts, limit=options.limit, seed=options.seed, columns=mapping(options.columns)
        ),
        base=options.base,
        corpus=options.corpus,
        text_field=options.text_field,
        shots=options.shots,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
    )


def main() -> int:
    """Run from the command line and print the finding and where the report is."""
    return launch(Options, run, show_study)


if __name__ == "__main__":
    sys.exit(main())
