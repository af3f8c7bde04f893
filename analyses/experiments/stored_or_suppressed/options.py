"""Options of stored_or_suppressed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Self

from analyses.common.options import SHOWN_OR_KEPT, wordings_config
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions as Settings
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.option_checks import CountOrNone, Within, refuse_unread, require_valid

LESSON_STEPS = (10, 30, 50)


@dataclass(frozen=True, kw_only=True)
class StoredOrSuppressedOptions(Settings):
    """Of the facts that each fine-tuned arm lost, which are still stored but suppressed?

    With --run: the arms of a finished run of attention_imbalance. Without: as attention_imbalance itself, an
    embedded world, real facts (--facts), or your own checkpoints (--base, --finetuned, --facts).
    """

    out: Path = Path("runs/stored_or_suppressed")
    """Run directory; the same command continues it."""
    run: Path | None = None
    """A finished run of attention_imbalance, whose settings and checkpoints are used."""
    form_shots: Annotated[int, Within(0, 1000)] = 0
    """Also hold out the asked form with this many solved examples in front (for models that read them)."""
    grid_facts: CountOrNone = 200
    """How many stored lost facts to transplant head by head; fewer in models of many heads (0: none)."""
    hidden_facts: CountOrNone = 0
    """How many facts to rank the answers of, by probability and by a probe, in base and arm: K, K* and
    recognition (0: none; half of them are known to the base, and recognition takes 19 never-stored ones)."""
    pathway_facts: CountOrNone = 100
    """How many lost facts of each arm to ask under every graft of weights (up to 61 askings; 0: none)."""
    lesson_steps: tuple[CountOrNone, ...] | None = None
    """After how many steps of a lesson on other facts to ask lost ones again (four lessons an arm; default:
    10 30 50 of arms that are trained here, and 0, none, of your own checkpoints, where they take longer than
    all the rest)."""
    lesson_deals: Annotated[int, Within(1, 100)] = 1
    """How often to deal the subjects into those that a lesson teaches and those that it tests (two lessons
    more an arm each; a verdict could foretell at least as much of the first as the further ones do)."""

    def resolved(self) -> Self:
        """Take the settings of ``run``, if one is named.

        Raises:
            InputError: the directory holds no finished run.
        """
        if self.run is None:
            return super().resolved()

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

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        super().check()
        if not self.steps_of_lessons:
            refuse_unread(self, ("lesson_deals",), "goes with --lesson-steps, and no lesson is given")

    @property
    def steps_of_lessons(self) -> tuple[int, ...]:
        """After how many steps of a lesson to ask, in order."""
        given = self.lesson_steps
        wanted = given if given is not None else () if self.finetuned else LESSON_STEPS
        return tuple(sorted({*wanted} - {0}))

    @property
    def needs_subjects(self) -> bool:
        """A bare list of questions will do for somebody's own checkpoints: all of one is its subject."""
        return not self.finetuned

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {**super().config(), "run": None if self.run is None else str(self.run)}
