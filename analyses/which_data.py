"""Before training: which of my facts should I train on?

    python analyses/which_data.py --base DIR|hub-id --facts my.csv --keep 0.5 --out chosen.csv
    python analyses/which_data.py --base DIR|hub-id --facts bare.jsonl --out chosen.jsonl --score few_shot

1. Load the candidates; what cannot be asked is set aside and listed.
2. Score every one of them at the base model, before any training (docs/which_data.md lists the scores).
3. Keep the share whose scores are best, with a floor under every relation and answer type (--floor 0: none).
4. Write the chosen rows as they came, in their order, each with its score and the reason; and a report.

A table needs questions and answers; with subjects and relations more scores can be used.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analyses.making import SHOWN_OR_KEPT, wordings_config
from analyses.shell import launch, show_study
from finetune.facts import InputError
from finetune.options import Count, PositiveShare, Seed, Share, require_valid
from finetune.phrasebooks import ASKED

if TYPE_CHECKING:
    from analyses.choosing.choosing import Chosen
    from finetune.manifest import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Options:
    """Before training: which of my facts should I train on?"""

    base: str
    """The model that is to be fine-tuned: a directory or a hub id."""
    facts: str
    """Candidates: a file (CSV, TSV, JSON, JSONL, parquet), a directory of them, or a data set of the hub."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    out: Path = Path("chosen.csv")
    """Where the chosen rows go, in the format that its extension says; a directory for a directory."""
    keep: PositiveShare = 0.5
    """Share of the facts to keep."""
    score: str | None = None
    """What to keep them by (default: the best label-free score that the facts allow)."""
    floor: Share = 1.0
    """Every relation and answer type keeps this share of what it would have in an even choice, at least."""
    also: tuple[str, ...] = ()
    """Further scores to compare with in the report and in scores.parquet."""
    dropped: Path | None = None
    """Where the other rows go."""
    report: Path | None = None
    """Directory of the report (default: named after --out)."""
    reference: str | None = None
    """Facts that the base should go on to know, for score agreement (default: candidates that it knows)."""
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md)."""
    prompt_format: str = ASKED
    """How fine-tuning will ask; {question} is replaced."""
    limit: Count | None = None
    """Choose among a random draw of this many facts only."""
    seed: Seed = 0
    """Decides draws: solved examples, equal scores."""
    batch_tokens: Count = 16_384
    """Bound on tokens a forward pass, hence on memory."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the base is loaded in."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the run as one JSON object and nothing else; progress goes to standard error."""
    color: bool = True
    """Colours on a terminal; NO_COLOR in the environment turns them off too."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        from interp.selection import SCORES

        require_valid(self)
        for option, name in (("--score", self.score), *(("--also", name) for name in self.also)):
            if name is not None and name not in SCORES:
                raise InputError(f"{option} {name}: choose from {', '.join(SCORES)}")
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")

    def config(self) -> dict[str, Any]:
        """Every setting that can change the choice, JSON-able."""
        held = {k: v for k, v in asdict(self).items() if k not in SHOWN_OR_KEPT and k != "report"}
        return {
            **held,
            "dropped": str(self.dropped) if self.dropped else None,
            **wordings_config(self.phrasebook),
        }

    @property
    def home(self) -> Path:
        """Where the report is."""
        return self.report or self.out.with_name(f"{self.out.stem}_report")


def run(options: Options) -> Path:
    """Choose, write the chosen rows and the report, and return the report's directory.

    The same command given again takes the scores from there.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """
    from analyses.choosing.choosing import chosen, prepared
    from finetune.manifest import RunDirectory

    options.check()
    ready = prepared(options)
    directory = RunDirectory(
        options.home,
        {**options.config(), "facts_digest": ready.candidates.facts.digest},
        analysis="which_data",
        inputs={"base": options.base},
    )
    require_places(options, directory)
    try:
        directory.write(seeds=(options.seed,))
        with directory.timed("scoring"):
            made = chosen(options, ready, directory.path)
    except InputError:
        directory.discard()
        raise
    _write(options, made, directory)
    return directory.path


def require_places(options: Options, directory: RunDirectory) -> None:
    """Refuse to write over what this very command has not written, or over one of its inputs.

    Raises:
        InputError: names the option and the remedy.
    """
    from finetune.outputs import require_apart, require_ours

    outputs = {"--out": options.out, "--dropped": options.dropped}
    inputs = {"--facts": options.facts, "--reference": options.reference, "--base": options.base}
    require_apart({**outputs, "--report": options.home}, {**inputs, "--phrasebook": options.phrasebook})
    for option, out in outputs.items():
        if out is not None:
            require_ours(option, out, directory.wrote)


def _write(options: Options, made: Chosen, directory: RunDirectory) -> None:
    from analyses.choosing import rows_out
    from analyses.choosing.choice_numbers import results
    from analyses.choosing.choice_page import page
    from finetune.files import write_json
    from interp.study_page import write_study

    left_out = made.left_out
    numbers = results(made)
    directory.write(seeds=(options.seed,), left_out=left_out, setting=made.setting)
    write_json(directory.path / "results.json", numbers)
    write_study(directory.path, page(made, numbers))
    require_places(options, directory)  # again: scoring takes a while
    for out, indices in ((options.out, made.kept), (options.dropped, made.others)):
        if out is not None:
            rows_out.write(made.traced, options.facts, out, indices, made.columns, directory.note_output)
    directory.write(seeds=(options.seed,), left_out=left_out, setting=made.setting, finished=True)


def main() -> int:
    """Run from the command line and print what was chosen and where the report is."""
    return launch(Options, run, show_study)


if __name__ == "__main__":
    sys.exit(main())
