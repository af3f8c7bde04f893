"""Fine-tune a model on one's own facts, on one device or several.

    python -m finetune --base DIR|hub-id --facts my.csv --out runs/mine [--test-share 0.3 ...]
    python -m finetune --preset llama-2-7b --facts popqa --out runs/llama
    accelerate launch --config_file finetune/launch/ddp.yaml -m finetune --preset ...

Facts are split by subject, asked in the chosen format, and trained on once for each learning rate; the one
that answers most validation facts is named in ``chosen.json``. The same command continues a killed run.
Where a checkpoint is taken, the directory of the run stands for the chosen one. Without a preset the settings
are those that suit a pretrained language model: LoRA, or with --method full smaller steps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from finetune.common import distributed
from finetune.common.command_line import parse_options, run_command
from finetune.common.errors import InputError, LeftOut
from finetune.common.option_checks import Count, InnerShare, Seed, ShareBelowOne, refuse_unread, require_valid
from finetune.common.progress import prepare_process
from finetune.data.facts import FactSet
from finetune.data.loaders.columns import mapping
from finetune.data.prompt_formats import PromptFormat
from finetune.training import next_steps
from finetune.training.config import LORA, TuneConfig
from finetune.training.fact_parts import PartShares, deal_parts, write_parts
from finetune.training.presets import OWN_TUNE, recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune.data.prompts import Phrasebook, Prompt
    from finetune.training.finished_training import Checkpoint

import tyro


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to fine-tune, on what, and where the result goes."""

    facts: str
    """A table of facts (CSV, TSV, JSONL, parquet), or the name of a data set such as popqa."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    out: Path
    """Directory of the result; it holds a model for each learning rate."""
    base: str = ""
    """Directory or hub id of the model; the preset's by default."""
    preset: str = ""
    """Settings for a real model (docs/training.md lists them); other options change them."""
    validation: str = ""
    """Facts to choose on; by default a share of the facts, by subject."""
    validation_share: InnerShare = next_steps.VALIDATION_SHARE
    """Share of the subjects to choose on, where no validation facts are given."""
    test_share: ShareBelowOne = 0.0
    """Share of the subjects held out altogether, for factscope diagnose to ask; partition.json names them."""
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md)."""
    limit: Count | None = None
    """Use so many facts, drawn at random."""
    seed: Seed = 0
    """Seed of split, order of rows, adapter and dropout."""
    anyway: bool = False
    """Train even if the estimate says that memory will not do."""
    quiet: bool = False
    """Print nothing but errors."""
    tune: Annotated[TuneConfig, tyro.conf.arg(name="")] = OWN_TUNE["lora"]
    ask: Annotated[PromptFormat, tyro.conf.arg(name="")] = field(default_factory=PromptFormat)

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.base:
            raise InputError("--base: name a model's directory or hub id, or a --preset")
        if self.validation:
            refuse_unread(self, ("validation_share",), "--validation names the facts; leave this out")
        if self.validation_share + self.test_share >= 1:
            raise InputError(
                f"--test-share {self.test_share:g}: with --validation-share {self.validation_share:g} it "
                "leaves nothing to train on; give shares that sum to less than 1"
            )
        tune = self.tune
        usual = recipe(self.preset).tune if self.preset else OWN_TUNE[tune.method]
        if tune.method != "lora":
            refuse_unread(tune, LORA, "is LoRA's; add --method lora or leave it out", usual=usual)
        if tune.keep != "loss":
            refuse_unread(tune, ("until_loss",), "goes with --keep loss", usual=usual)
        if tune.epochs is not None:
            refuse_unread(tune, ("steps",), "--epochs takes its place; add --epochs None", usual=usual)
        refuse_unread(tune, ("distil",), "needs known facts, which this command does not take; leave it out")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 2 where the input was wrong."""
    return run_command(lambda: _command(sys.argv[1:] if arguments is None else arguments))


def _command(arguments: Sequence[str]) -> None:
    options = parse_options(Options, args=arguments, description=__doc__, default=_defaults(arguments))
    prepare_process(quiet=options.quiet)
    options = _with_dtype(options, arguments)
    chosen, asked = finetune(options)
    if distributed.is_main() and not options.quiet:
        print("\n".join(next_steps.outcome(chosen, asked)))
        print(f"Next: {next_steps.diagnosis_command(options.out, held_out=options.test_share > 0)}")


def finetune(options: Options) -> tuple[Checkpoint, int]:
    """Train at every learning rate; return what was chosen, and on how many validation facts.

    Raises:
        InputError: see :func:`finetune.training.train.train`; or too few facts, or no room in memory.
    """
    from finetune.checkpoints.loading import load_tokenizer
    from finetune.checkpoints.preflight import require_trainable
    from finetune.common.files import content_hash, write_json
    from finetune.common.run_directory import RunDirectory
    from finetune.training.config import COST
    from finetune.training.learning_rate import select
    from finetune.training.training_format import write_format

    options.check()
    require_trainable(options.base)
    parts = _parts(options)
    next_steps.require_letters(options.ask, parts)
    tokenizer = load_tokenizer(options.base)
    prompts, validation, left_out = _prompts(options, parts, tokenizer)
    if distributed.is_main():
        _require_room(options, tokenizer, prompts)
        settings = {**asdict(options), "out": "", "quiet": False, "anyway": False}
        settings |= {name: part.digest for name, part in parts.items()}
        if own := options.phrasebook:
            settings |= {"phrasebook": str(own), "phrasebook_digest": content_hash(own.expanduser())}
        # What may change between the starts of one run decides no result.
        settings["tune"] = {name: value for name, value in settings["tune"].items() if name not in COST}
        run = RunDirectory(options.out, settings, analysis="finetune")
        run.write(seeds=[options.seed], left_out=left_out)
        next_steps.say_left_out(left_out, options.out / "manifest.json")
        write_format(options.out, options.ask)
        write_parts(options.out, parts)
    distributed.wait_for_everyone()
    chosen = select(
        options.base,
        prompts,
        validation,
        options.out,
        config=options.tune,
        seed=options.seed,
        name=Path(options.base).name,
    )
    if distributed.is_main():
        said = {"path": chosen.path.name, "facts": len(prompts), "validation_facts": len(validation)}
        write_json(options.out / "chosen.json", asdict(chosen) | said)
        run.write(seeds=[options.seed], finished=True, left_out=left_out)
    return chosen, len(validation)


def _defaults(arguments: Sequence[str]) -> Any:
    """Take the options that a named preset or method stands for, for other options to change."""
    words = " ".join(arguments).replace("=", " ").split()
    given = dict(pairwise(words))
    facts: Any = {"facts": tyro.MISSING, "out": tyro.MISSING}
    if (name := given.get("--preset")) is None:
        tune = OWN_TUNE["full" if given.get("--method") == "full" else "lora"]
        by_steps = {"--steps", "--tune-steps"} & set(words)
        return Options(**facts, tune=replace(tune, epochs=None) if by_steps else tune)
    held = recipe(name)
    return Options(**facts, base=held.base, preset=name, tune=held.tune)


def _with_dtype(options: Options, arguments: Sequence[str]) -> Options:
    """Choose the dtype of an adapter's frozen base, where neither an option nor a preset does."""
    from finetune.checkpoints.precision import default_dtype, note_slow_dtype

    options.check()
    note_slow_dtype(options.tune.dtype)
    given = any(word.partition("=")[0] == "--dtype" for word in arguments)
    if given or options.preset or options.tune.method == "full":
        return options
    return replace(options, tune=replace(options.tune, dtype=default_dtype(options.base)))


def _parts(options: Options) -> dict[str, FactSet]:
    columns = mapping(options.columns)
    facts = FactSet.load(
        options.facts, limit=options.limit, seed=options.seed, columns=columns, subjects=False
    )
    validation = None
    if options.validation:
        validation = FactSet.load(options.validation, columns=columns, subjects=False)
    shares = PartShares(test=options.test_share, validation=options.validation_share, seed=options.seed)
    return deal_parts(facts, options.facts, shares, validation)


def _prompts(
    options: Options, parts: dict[str, FactSet], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Prompt], list[Prompt], list[LeftOut]]:
    from finetune.checkpoints.loading import context_of
    from finetune.data.prompt_formats import ask_in_format, prompts_within_context

    context = context_of(options.base)
    left_out = [item for part in (parts["train"], parts["validation"]) for item in part.left_out]
    made = []
    for name in ("train", "validation"):
        part = parts[name]
        said = ask_in_format(
            part,
            _load_wordings(options, part, parts),
            options.ask,
            tokenizer=tokenizer,
            examples=parts["train"],
            seed=options.seed,
        )
        kept, unfit = prompts_within_context(tokenizer, said, context)
        if not kept:
            why = f"no {name} prompt fits the model (fact {unfit[0].where!r}: {unfit[0].reason})"
            remedy = "ask with fewer --shots, or name a --base that can read them"
            raise InputError(f"{options.facts}: {why}; {remedy}")
        made.append(kept)
        left_out += unfit
    return made[0], made[1], list(dict.fromkeys(left_out))


def _load_wordings(options: Options, part: FactSet, parts: dict[str, FactSet]) -> Phrasebook:
    from finetune.data.phrasebooks import load_phrasebook, phrasebook

    if options.phrasebook is None:
        return phrasebook(part)
    known = {relation for some in parts.values() for relation in some.relations}
    if options.limit is not None:
        known |= set(FactSet.load(options.facts, columns=mapping(options.columns), subjects=False).relations)
    return load_phrasebook(options.phrasebook, part, relations=known)


def _require_room(options: Options, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> None:
    from finetune.training.cost_estimate import estimate_prompt_costs, require_room

    budget = estimate_prompt_costs(options.base, tokenizer, prompts, options.tune)
    if not options.quiet:
        print(f"Expected at each learning rate: {budget.sentence()}", file=sys.stderr)
    if not options.anyway:
        require_room(budget)


if __name__ == "__main__":
    sys.exit(main())
