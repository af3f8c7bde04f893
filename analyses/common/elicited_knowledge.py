"""What a user's own base knows, elicited in forms that suit it, and what is said at once if it is little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyses.common.checkpoints import BASE, Checkpoints
from analyses.common.resumed_elicitation import ResumedElicitation
from analyses.common.visits import Stage, visit
from finetune.common.errors import LeftOut
from finetune.common.files import as_json, read_json
from finetune.common.progress import notice, progress_bar
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt
from finetune.evaluation.asking_forms import (
    DRAWS,
    SHOTS,
    SPECIFIC,
    AskingForm,
    Elicited,
    Known,
    bound_prompts,
)
from finetune.evaluation.consistency import CLASSES, WEAKLY
from finetune.evaluation.elicitation import Elicitation
from interp.verdicts.base_knowledge import KnownFacts
from interp.verdicts.controls import FEWEST_CONTROLS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KNOWLEDGE = "knowledge.parquet"
FEWEST_EXAMPLES = 16  # training facts of a relation
SET_ASIDE = 0.25  # share of the facts taken where there are no others
MOSTLY, LITTLE = 0.8, 0.25  # of answers that are one, and of known facts that are answered as asked


def knowledge_stage(checkpoints: Checkpoints, directory: Path) -> Stage[pd.DataFrame]:
    """Elicit what the base's plain model knows of the test facts: a row a fact, and what each form found."""
    rows, told, parts = (directory / name for name in (KNOWLEDGE, "elicitation.json", "eliciting"))

    def make(model: PreTrainedModel, to: Path, forms: Path) -> None:
        assert checkpoints.examples is not None
        total = bound_prompts(checkpoints.test, checkpoints.phrasebook)
        with progress_bar("Eliciting what the base knows", total=total) as advance:
            how = (model, checkpoints.tokenizer, checkpoints.phrasebook, checkpoints.examples)
            found = ResumedElicitation(*how, advance=advance, folder=parts).elicit(checkpoints.test)
        knowledge_frame(checkpoints.test, found, checkpoints.known_cut).to_parquet(to)
        forms.write_text(as_json([{**asdict(f), "form": str(f.form)} for f in found.forms]), encoding="utf-8")

    return Stage(paths=(rows, told), make=make, read=lambda: pd.read_parquet(rows))


def knowledge_frame(facts: FactSet, found: Elicited, cut: Known = "maybe") -> pd.DataFrame:
    """Lay out what was elicited of facts, a row each; known is what is known from the degree ``cut`` on."""
    return pd.DataFrame(
        {
            "fact_id": [fact.id for fact in facts],
            "known": found.known(cut),
            "base_degree": [CLASSES[k] for k in found.degree],
            "base_right": found.right,
            "base_above": found.above,
            "base_said": found.said,
        }
    )


def say_what_is_amiss(checkpoints: Checkpoints, knowledge: pd.DataFrame, base: pd.DataFrame) -> None:
    """Say at once, before anything long, what cannot be measured on these facts.

    Args:
        checkpoints: what is compared.
        knowledge: what was elicited of the base.
        base: what it answers as everybody is asked.
    """
    n, known = len(knowledge), int(knowledge["known"].sum())
    degrees = knowledge["base_degree"].value_counts().to_dict()
    if not known:
        specific = ~(knowledge["base_above"] < SPECIFIC)
        weaker = (knowledge["base_degree"].isin(CLASSES[WEAKLY:]) & specific).any()
        hint = "add --known weakly, or " if weaker and checkpoints.known_cut != "weakly" else ""
        generic = "" if specific.all() else f"; {(~specific).sum()} answers are as likely for other subjects"
        notice(
            f"the base knows none of these {n} facts, in whatever form it was asked "
            f"({_listed(degrees)}{generic}), so nothing can be said of what fine-tuning lost; "
            f"{hint}give facts that it knows (popular ones)"
        )
    say_if_form_fails(checkpoints, BASE, known, base["correct"], base["given"])
    if known:
        say_if_few_controls(int((knowledge["base_degree"] == CLASSES[0]).sum()))


def say_if_few_controls(count: int) -> None:
    """Say where few facts are right in no form of the base, on which a verdict's error rate rests."""
    if count < FEWEST_CONTROLS:
        notice(
            f"only {count} facts are right in no form of the base: how often a verdict calls a fact stored "
            f"that nothing stores will rest on these (it takes {FEWEST_CONTROLS})"
        )


def say_if_form_fails(
    checkpoints: Checkpoints, name: str, known: int, correct: pd.Series, given: pd.Series
) -> None:
    """Say where a model answers little as it is asked, or mostly the same.

    Args:
        checkpoints: what is compared.
        name: of the model.
        known: how many of the facts the base knows in other forms.
        correct: whether each answer is right.
        given: the answers.
    """
    n, right = len(correct), int(correct.sum())
    who, whom = ("the base", "it") if name == BASE else (name, "the base")
    if right < LITTLE * known:
        # Arms that are trained here learn the question's form; a user's own can be asked in another one.
        trained_here = checkpoints.sizes.get("train", 0) > 0
        ask = "as it answers" if name == BASE else "as it was trained"
        remedy = "" if trained_here else f"; ask {ask}: add --shots 4, or --chat for a chat model"
        notice(f"as asked, {who} answers {right} of {n} facts right, but {whom} knows {known}{remedy}")
    common, times = Counter(given).most_common(1)[0]
    if times > MOSTLY * n:
        notice(f"{times} of {who}'s {n} answers are {common!r}: accuracy says little of single subjects")


def known_facts(checkpoints: Checkpoints, directory: Path) -> KnownFacts | None:
    """Elicit what the base knows, once a directory, for verdicts; None where statements say it.

    The prompts of knowing are the kept forms of each relation under the first draw of examples. The evidence
    comes from the same forms behind examples that eliciting never drew; where a kept form has none, with the
    fewest, and from the best form that was not kept where a relation has too few examples for any.
    """
    if checkpoints.examples is None:
        return None
    stage = knowledge_stage(checkpoints, directory)
    visit(checkpoints, BASE, plain=[stage])
    frame = stage.read().set_index("fact_id")
    asks = Elicitation(None, checkpoints.tokenizer, checkpoints.phrasebook, checkpoints.examples)
    listed = read_json(stage.paths[1])
    knowing: dict[int, list[Prompt]] = {}
    evidence: dict[int, list[Prompt]] = {}
    for relation in checkpoints.test.relations:
        rows = [i for i, fact in enumerate(checkpoints.test) if fact.relation == relation]
        some = checkpoints.test.subset(rows)
        pool = asks.pool(relation, some)
        forms = [(AskingForm.parse(f["form"]), f["kept"]) for f in listed if f["relation"] == relation]
        kept = [form for form, is_kept in forms if is_kept]
        others = [form for form, is_kept in forms if not is_kept]
        for side, asked, draw in (
            (knowing, kept, 0),
            (evidence, evidence_forms(kept, others, len(pool)), DRAWS),
        ):
            for rank, form in enumerate(asked):
                side.setdefault(rank, []).extend(asks.prompts(some, pool, form, draw))

    def flags(column: pd.Series) -> dict[str, bool]:
        return {str(fact_id): bool(flag) for fact_id, flag in column.items()}

    return KnownFacts(
        known=flags(frame["known"]),
        never=flags(frame["base_degree"] == "Unknown"),
        specific=flags(~(frame["base_above"] < SPECIFIC)),
        knowing=[knowing[rank] for rank in sorted(knowing)],
        prompts=[evidence[rank] for rank in sorted(evidence)],
    )


def evidence_forms(
    kept: Sequence[AskingForm], others: Sequence[AskingForm], examples: int
) -> list[AskingForm]:
    """Choose the forms that supply evidence beside those that said what is known.

    Args:
        kept: the forms that said it.
        others: the forms that did not, best first.
        examples: how many training facts of the relation can be shown.
    """
    fewest = min(shots for shots in SHOTS if shots)
    wanted = [AskingForm(form.kind, form.shots or fewest) for form in kept]
    shown = [form for form in dict.fromkeys(wanted) if form.shots <= examples // 2]
    return shown or [form for form in others if not form.shots][:1]


def set_examples_aside(facts: FactSet, spare: Sequence[Any], *, seed: int = 0) -> tuple[FactSet, FactSet]:
    """Return the facts to ask and the training facts to show, which are spare ones as far as there are any.

    A relation with fewer than ``FEWEST_EXAMPLES`` spare facts gives a share of its own, which are then not
    asked: they are in ``left_out``, with the reason.
    """
    asked = {fact.subject.casefold() for fact in facts}
    pool = [fact for fact in spare if fact.subject.casefold() not in asked]
    there = Counter(fact.relation for fact in pool)
    rng, shown = generator(seed, "examples set aside"), set()
    for relation in facts.relations:
        names = sorted({fact.subject.casefold() for fact in facts if fact.relation == relation})
        wanted = min(FEWEST_EXAMPLES - there[relation], int(SET_ASIDE * len(names)))
        if wanted > 0:
            shown |= {names[i] for i in rng.permutation(len(names))[:wanted]}
    taken = [i for i, fact in enumerate(facts) if fact.subject.casefold() in shown]
    reason = "shown as a solved example, so it is not asked itself"
    left_out = tuple(LeftOut(where=facts[i].id, reason=reason) for i in taken)
    rest = facts.subset([i for i in range(len(facts)) if i not in set(taken)])
    examples = replace(facts, facts=(*pool, *(facts[i] for i in taken)), left_out=())
    return replace(rest, left_out=(*facts.left_out, *left_out)), examples


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in CLASSES[::-1] if name in counts)
