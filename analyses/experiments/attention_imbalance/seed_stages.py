"""The stage files of one seed of the main job, and which of them each visit of a checkpoint makes.

Everybody is asked and read by itself. What needs several models (the transplant, the pictures) is made in
the visit of the last one, from what the others left in files; those are removed once it is done.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.arms import answers_stage, known_stage
from analyses.common.checkpoints import BASE, BOTTOM, TOP, Checkpoints
from analyses.common.elicited_knowledge import knowledge_stage, say_if_form_fails, say_what_is_amiss
from analyses.common.evaluate import lost_facts, with_known
from analyses.common.measurements import readings_stage, recall_stage, rows_stage, transplant_stage
from analyses.common.visits import Stage, json_stage, visit
from analyses.experiments.attention_imbalance.fact_pictures import (
    Patterns,
    Pictured,
    one_fact,
    patterns_stage,
    record_facts,
)
from interp.measures.attention import AttentionMass
from interp.patching.recall_heads import RecallHeads
from interp.patching.recording import Recording


@dataclass(frozen=True)
class AnswerCheck:
    """Says what cannot be measured as soon as a model was asked, before anything long; once a run."""

    stages: SeedStages
    name: str
    due: bool

    def write(self, model: object) -> None:
        """Compare what the base knows with what this model answers."""
        stages, answers = self.stages, self.stages.answers(self.name).read()
        if self.name == BASE:
            say_what_is_amiss(stages.checkpoints, stages.known.read(), answers)
        elif not stages.known.due:
            known = int(stages.known.read()["known"].sum())
            say_if_form_fails(stages.checkpoints, self.name, known, answers["correct"], answers["given"])


@dataclass(frozen=True)
class SeedStages:
    """What one seed's checkpoints are measured on, and where each measurement is kept."""

    checkpoints: Checkpoints
    directory: Path
    seed: int
    batch_tokens: int

    @property
    def names(self) -> tuple[str, ...]:
        """The base and every arm."""
        return self.checkpoints.names

    @property
    def paired(self) -> bool:
        """Whether the popular half is compared with the unpopular one."""
        return {TOP, BOTTOM} <= set(self.names)

    @property
    def compared(self) -> tuple[str, str]:
        """The two models whose attention is compared."""
        return (TOP, BOTTOM) if self.paired else (BASE, self.names[1])

    @property
    def alone(self) -> list[str]:
        """Those that can be visited in any order, and by any process, before the last."""
        return [name for name in self.names if name != self.last]

    @property
    def last(self) -> str:
        """The one whose visit needs what the others left."""
        return self.compared[1]

    @cached_property
    def known(self) -> Stage[Any]:
        """Which test facts the base knows: a flag a fact, or a row with how well where that was elicited."""
        if self.checkpoints.examples is not None:
            return knowledge_stage(self.checkpoints, self.directory)
        return known_stage(self.checkpoints, self.directory / "known.json")

    def answers(self, name: str) -> Stage[pd.DataFrame]:
        """What a checkpoint says."""
        path = self.directory / "answers" / f"{name}.parquet"
        return answers_stage(self.checkpoints, name, path, seed=self.seed)

    def readings(self, name: str) -> Stage[tuple[AttentionMass, pd.DataFrame]]:
        """Where a checkpoint looks, and what its values hold."""
        return readings_stage(name, self.directory / "readings", batch_tokens=self.batch_tokens)

    @cached_property
    def recall(self) -> Stage[RecallHeads]:
        """The recall heads of the first model that is compared."""
        return recall_stage(
            self.directory / "recall_heads.safetensors",
            self.answers(self.compared[0]).read,
            seed=self.seed,
            batch_tokens=self.batch_tokens,
        )

    @cached_property
    def transplant(self) -> Stage[dict[str, dict[str, bool]]]:
        """What the bottom arm says with the top arm's attention rows."""
        return transplant_stage(
            self.directory / "transplant.json",
            self._rows,
            lambda: lost_facts(*(self.answers(name).read() for name in self.compared)),
            seed=self.seed,
            batch_tokens=self.batch_tokens,
        )

    @cached_property
    def example(self) -> Stage[dict[str, Any]]:
        """One fact in full."""
        return json_stage(self.directory / "example.json", lambda found: one_fact(found, self._pictured()))

    @cached_property
    def examples(self) -> Stage[list[dict[str, Any]]]:
        """Several facts in full."""
        return json_stage(
            self.directory / "examples.json", lambda found: record_facts(found, self._pictured())
        )

    def visit(self, name: str) -> None:
        """Make what is missing of one checkpoint's stages, opening it at most once."""
        asked: list[Any] = [self.known] if name == BASE else []
        read: list[Stage[Any]] = [self.readings(name)]
        if name == self.compared[0]:
            read.append(self.recall)
        if name == self.last:
            read += [*([self.transplant] if self.paired else []), self.example, self.examples]
        elif name in self.compared and self.paired and self.transplant.due:
            read.append(self._rows)
        if name in (BASE, *self.compared[:1]) and (self.example.due or self.examples.due):
            read.append(self._patterns(name))
        due = self.checkpoints.examples is not None and self.answers(name).due
        checks = [AnswerCheck(self, name, due)]
        visit(self.checkpoints, name, plain=[*asked, self.answers(name), *checks], hooked=read)

    def frame(self, name: str) -> pd.DataFrame:
        """Bring together a checkpoint's answers and readings: a row per fact.

        Subject attention is a fact's mean, ``mass`` its layers x heads (layer-major).
        """
        frame, (mass, evidence) = self.answers(name).read(), self.readings(name).read()
        if not tuple(frame["fact_id"]) == mass.fact_ids == tuple(evidence["fact_id"]):
            raise RuntimeError("other facts were read than were asked; remove the run directory")
        flat = mass.values.flatten(1).numpy()
        columns = {
            "subject_attention_raw": mass.raw.mean((1, 2)).numpy(),
            "subject_attention_recall": self.recall.read().mean(mass.values, mass.fact_ids).numpy(),
        }
        columns |= {each: evidence[each].to_numpy() for each in evidence.columns if each != "fact_id"}
        known = self.known.read()
        if isinstance(known, pd.DataFrame):
            frame = frame.merge(known.drop(columns=["known", "base_said"]), on="fact_id", validate="1:1")
            known = known["known"].tolist()
        frame = with_known(frame, known)
        return frame.assign(subject_attention=flat.mean(1), mass=list(flat), **columns)

    def tidy(self) -> None:
        """Remove what visits left for one another."""
        shutil.rmtree(self._handed, ignore_errors=True)

    @property
    def _handed(self) -> Path:
        return self.directory / "handed"

    @property
    def _rows(self) -> Stage[Recording]:
        return rows_stage(self._handed / "rows.safetensors", batch_tokens=self.batch_tokens)

    def _patterns(self, name: str) -> Stage[Patterns]:
        ids = [prompt.fact_id for prompt in self.checkpoints.prompts]
        return patterns_stage(self._handed / f"{name}.npz", ids, seed=self.seed)

    def _pictured(self) -> Pictured:
        before, after = self.compared
        names = dict.fromkeys((BASE, before, after))
        return Pictured(
            frame=pd.concat([self.frame(name) for name in names], ignore_index=True),
            before=before,
            after=after,
            recorded={name: self._patterns(name) for name in names if name != after},
            seed=self.seed,
        )
