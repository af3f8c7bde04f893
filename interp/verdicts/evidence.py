"""Evidence that a fine-tuned model still stores a fact, each kind with its placebo.

Every kind is a specificity (:mod:`interp.verdicts.specificity`): how far the right answer is told apart
for its subject, in nats, when the fine-tuned model is

- ``asked`` as it was fine-tuned, without intervention;
- asked in other ``forms``, the mean over the statement forms and few-shot prompts;
- asked while its last token attends to the subject more strongly (``boost``);
- asked while its last token attends as the base's does (``patterns``), or all tokens do (``all_patterns``);
- asked while its last token, or all tokens, attend as a sibling arm's do (``sibling``, ``all_sibling``);
- not asked but read: the answer's logit from the subject's values (``readout``).

``knockout`` is another measure: how much more of log p(answer) the base loses than the fine-tuned model when
the last token may not attend to the subject (nats). It says where use was lost, not that storage was kept.

Patterns carry no answer. Their placebo is another subject's pattern, mapped by role where its prompt has
another length (:mod:`interp.measures.role_alignment`); the boost's is the relation's words in the subject's
place. Where an intervention cannot be made, for want of a partner or of a token to edit, its evidence and
its placebo are missing (NaN): an unedited answer is neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.measures.placebos import wrong_subject
from interp.measures.spans import PromptBatch
from interp.patching.interventions import Edits, Intervention, Knockout, Replace, Scale
from interp.patching.partner_rows import replace_by_partners
from interp.patching.positions import Role
from interp.patching.recording import record
from interp.verdicts.answer_scores import AnswerScorer, read_stored
from interp.verdicts.prompts import Form
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

    from interp.models.pair import CheckpointPair

BOOSTS = (2.0, 8.0)
HELD = 2**26  # attention weights recorded at a time


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Each kind's specificity of the right answer and of a decoy, [fact], by name; placebos among them.

    ``right`` and ``said`` are the fine-tuned model's own answers; ``tied`` says where no other answer is more
    specific to the subject, ``stated`` where a fact is right and tied in every other form that it is asked
    in; ``recovered`` says by kind of pattern which facts are then answered right.
    """

    values: dict[str, Float[Tensor, " fact"]]
    decoys: dict[str, Float[Tensor, " fact"]]
    right: Float[Tensor, " fact"]
    tied: Bool[Tensor, " fact"]
    stated: Bool[Tensor, " fact"]
    said: tuple[str, ...]
    log_prob: Float[Tensor, " fact"]
    recovered: dict[str, Float[Tensor, " fact"]]

    def columns(self, kinds: Sequence[str]) -> dict[str, Any]:
        """Return what a diagnosis holds of it: tables [fact, kind] and [fact, pattern], and the answers."""
        tables = {"evidence": self.values, "decoys": self.decoys}
        return {
            **{
                name: torch.stack([values[kind].double() for kind in kinds], 1)
                for name, values in tables.items()
            },
            "patterns": tuple(self.recovered),
            "recovered": torch.stack(list(self.recovered.values()), dim=1),
            "right": self.right,
            "tied": self.tied,
            "stated": self.stated,
            "log_prob": self.log_prob,
            "said": self.said,
        }


def measure_evidence(
    pair: CheckpointPair,
    asked: PromptBatch,
    forms: Sequence[Form],
    golds: AnswerTargets,
    siblings: Mapping[str, CheckpointPair],
    *,
    batch_tokens: int,
    seed: int,
) -> Evidence:
    """Measure every kind of evidence on the fine-tuned model of a pair.

    Args:
        pair: base and fine-tuned model.
        asked: the prompts as fine-tuning asks.
        forms: other prompts of the same facts.
        golds: right answers' places in their relations' sets.
        siblings: other fine-tunings of the base by name.
        batch_tokens: bound on the tokens of one forward pass.
        seed: of the draws.
    """
    names = _names(siblings)
    asker = AnswerScorer(asked, golds, pair.tokenizer, cells=len(names), say=True)
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")
    base = _ask_base_without_subject(pair, asked, golds, cut, batch_tokens)
    for some in golds.ordered:
        for rows in _parts(asked, some, pair):
            cells = {"knockout": cut, **_cells(pair, siblings, asked[rows], batch_tokens, seed)}
            with pair.finetuned() as model:
                asker.ask(model, rows, [cells[name] for name in names], batch_tokens=batch_tokens)
        asker.tally.finish()
    with pair.finetuned() as model:
        stored = read_stored(model, asked, golds, batch_tokens=batch_tokens)
        others = [_score_other_form(model, *form, pair.tokenizer, len(asked), batch_tokens) for form in forms]
    kinds = [
        _by_kind(asker, stored, [f[k] for f in others], a, names) for k, a in enumerate(("right", "decoy"))
    ]
    lost = (base.log_prob - asker.log_prob[[0, 1 + names.index("knockout")]]).diff(dim=0)[0]
    kinds[0]["knockout"], kinds[1]["knockout"] = -lost, torch.full_like(lost, torch.nan)
    recovered = {n: asker.right[i + 1] for i, n in enumerate(names) if n != "knockout"}
    return Evidence(
        values=kinds[0],
        decoys=kinds[1],
        right=asker.right[0],
        tied=asker.tally.first[0],
        stated=_stated(others),
        said=tuple(asker.said[0]),
        log_prob=asker.log_prob[0],
        recovered=recovered,
    )


def _ask_base_without_subject(
    pair: CheckpointPair, asked: PromptBatch, golds: AnswerTargets, cut: Intervention, batch_tokens: int
) -> AnswerScorer:
    base = AnswerScorer(asked, golds, pair.tokenizer, cells=1)
    with pair.base() as model:
        base.ask(model, torch.arange(len(asked)), [cut], batch_tokens=batch_tokens)
    return base


def _by_kind(
    asker: AnswerScorer, stored: Any, forms: Sequence[Tensor], answer: str, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return every kind's specificity of one answer, the right one or the decoy."""
    by_cell = getattr(asker.tally, answer)
    found = {"asked": by_cell[0], **dict(zip(names, by_cell[1:], strict=True))}
    found |= {"readout": getattr(stored, answer)[0]}
    if forms:
        found["forms"] = torch.stack(list(forms)).nanmean(0)
    return _strongest(found)


def _names(siblings: Mapping[str, CheckpointPair]) -> list[str]:
    boosts = [f"{name}_{by:g}" for by in BOOSTS for name in ("boost", "boost_placebo")]
    own = ["knockout", *boosts, *_transplants("patterns", "placebo")]
    tried = _transplants("sibling", "sibling_placebo")
    return [*own, *(f"{kind}:{name}" for name in siblings for kind in tried)]


def _transplants(right: str, placebo: str) -> tuple[str, ...]:
    return right, placebo, f"all_{right}", f"all_{placebo}"


def _cells(
    pair: CheckpointPair,
    siblings: Mapping[str, CheckpointPair],
    batch: PromptBatch,
    batch_tokens: int,
    seed: int,
) -> dict[str, Edits]:
    """Record attention where it comes from, and make the interventions of ``_names``."""
    cells: dict[str, Edits] = {}
    keys: dict[str, Role] = {"boost": "subject", "boost_placebo": "relation"}
    for by in BOOSTS:
        for name, role in keys.items():
            cells[f"{name}_{by:g}"] = Intervention(site="pattern", do=Scale(by=by), keys=role)
    partners = wrong_subject(batch, batch, seed=seed)

    def transplants(model: TransformerBridge, names: Sequence[str], suffix: str = "") -> None:
        roles: tuple[Role, ...] = ("last", "all")
        for at, (right, placebo) in zip(roles, (names[:2], names[2:]), strict=True):
            rows = record(model, batch, "pattern", at=at, batch_tokens=batch_tokens)
            cells[right + suffix] = Intervention(site="pattern", do=Replace(source=rows), at=at)
            cells[placebo + suffix] = replace_by_partners(rows, batch, batch, partners)

    with pair.base() as model:
        transplants(model, _transplants("patterns", "placebo"))
    for name, sibling in siblings.items():
        with sibling.finetuned() as model:
            transplants(model, _transplants("sibling", "sibling_placebo"), f":{name}")
    return cells


def _parts(
    batch: PromptBatch, rows: Int[Tensor, " row"], pair: CheckpointPair
) -> Iterator[Int[Tensor, " some"]]:
    """Split facts so that the attention recorded of them stays in bounds; a relation's stay together."""
    with pair.base() as model:
        each = model.cfg.n_layers * model.cfg.n_heads * batch.input_ids.shape[1] ** 2
    order = sorted(rows.tolist(), key=lambda i: batch.prompts[i].relation)
    if order:
        yield from torch.tensor(order).split(max(1, HELD // each))


def _score_other_form(
    model: TransformerBridge,
    batch: PromptBatch,
    golds: AnswerTargets,
    owner: Int[Tensor, " row"],
    tokenizer: PreTrainedTokenizerBase,
    facts: int,
    batch_tokens: int,
) -> Float[Tensor, "kind fact"]:
    """Return the specificity of right answers and decoys, and who is stated, at the facts' own places."""
    asker = AnswerScorer(batch, golds, tokenizer, say=True)
    asker.ask_all(model, batch_tokens=batch_tokens)
    out = torch.full((3, facts), torch.nan)
    out[0, owner], out[1, owner] = asker.tally.right[0], asker.tally.decoy[0]
    out[2, owner] = ((asker.right[0] > 0) & asker.tally.first[0]).float()
    return out


def _stated(forms: Sequence[Float[Tensor, "kind fact"]]) -> Bool[Tensor, " fact"]:
    """Return which facts are stated in every form that they were asked in, of one at least."""
    said = torch.stack([form[2] for form in forms])
    return said.nan_to_num(1.0).bool().all(0) & ~said.isnan().all(0)


def _strongest(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the strongest of several boosts, and of several siblings."""
    groups: dict[str, list[Tensor]] = {}
    for name, values in found.items():
        groups.setdefault(name.split(":")[0].removesuffix("_2").removesuffix("_8"), []).append(values)
    return {name: torch.stack(parts).amax(0) for name, parts in groups.items()}
