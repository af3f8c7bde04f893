"""What theory and paper claim of attention's movement, each claim decided by a number of the experiment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

from analyses.experiments.one_layer_theory.numbers import DEEP, GEOMETRIES, WHERE, key
from analyses.experiments.one_layer_theory.rows import STEPPED, TRAINED
from interp.reports.pages.study import decide_claim

if TYPE_CHECKING:
    from interp.reports.pages.study import Claim

NONE: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0}
PLACES = {"own": "the example's own prompt", "untrained": "held-out subjects' prompts"}


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory and the paper claim."""
    first = decide_claim(
        "closed-form gradients equal automatic ones to 10 digits (one-layer)",
        "theory",
        number_at(results, "gradient.digits"),
        above=10,
        unit="digits",
    )
    small = [claim for geometry in GEOMETRIES for claim in _small_claims(results, geometry)]
    deep = [claim for stepped in STEPPED for claim in _deep_claims(results, stepped)]
    proxy = decide_claim(
        "the proxy m ranks examples as the exact m does (deep)",
        "theory, as a proxy",
        number_at(results, "deep.proxy.rank"),
        unit="rank correlation",
        digits=2,
    )
    return (small[0], first, *small[1:], *deep, proxy)


def _small_claims(results: dict[str, Any], geometry: str) -> Iterator[Claim]:
    model = f"one-layer, {geometry} embeddings"
    step, salience = f"{geometry}.step", f"{geometry}.salience"
    yield decide_claim(
        f"the sign of m says which way a step moves attention to untrained subjects ({model})",
        "theory",
        number_at(results, f"{step}.sign_untrained"),
        above=0.5,
        unit="%",
    )
    yield decide_claim(
        f"m has the sign of that movement more often than another fact's m has ({model})",
        "theory",
        number_at(results, f"{step}.sign_gain"),
        unit="points",
    )
    yield decide_claim(
        f"salience grows with sightings ({model})",
        "paper, claim 2",
        number_at(results, f"{salience}.rank"),
        unit="rank correlation",
        digits=2,
    )
    yield decide_claim(
        f"a sighting raises its own fact's salience more often than another subject's does ({model})",
        "paper, claim 2",
        number_at(results, f"{salience}.rose_more"),
        unit="points",
    )
    for trained in TRAINED:
        runs = f"{geometry}.runs.{key(trained)}"
        yield decide_claim(
            f"the unpopular half takes more attention off held-out subjects than the popular one "
            f"({model}, {trained} trained)",
            "paper, claim 3",
            number_at(results, f"{runs}.contrasts.top_minus_bottom.change"),
            unit="points",
        )
        yield decide_claim(
            f"where a half's mean m at the start is larger, held-out subjects gain more attention "
            f"({model}, {trained} trained)",
            "theory",
            number_at(results, f"{runs}.follows.m_start"),
            unit="rank correlation",
            digits=2,
        )
        yield decide_claim(
            f"the popular half answers more held-out facts ({model}, {trained} trained)",
            "paper, claim 1",
            number_at(results, f"{runs}.contrasts.top_minus_bottom.accuracy"),
            unit="points",
        )


def _deep_claims(results: dict[str, Any], stepped: str) -> Iterator[Claim]:
    for where in reversed(WHERE):
        part, on = f"{DEEP}.{key(stepped)}.{where}", f"on {PLACES[where]} (deep, step on {stepped})"
        yield decide_claim(
            f"m ranks the change of subject attention better than another fact's m does {on}",
            "theory, as a proxy",
            number_at(results, f"{part}.rank_gain"),
            unit="rank correlation",
            digits=2,
        )
        for number, among in (("rank_m", ""), ("rank_within_m", ", among examples of one relation,")):
            yield decide_claim(
                f"m{among} ranks the change of subject attention {on}",
                "theory, as a proxy; added when seed 0 was seen",
                number_at(results, f"{part}.{number}"),
                unit="rank correlation",
                digits=2,
            )
        yield decide_claim(
            f"m has the sign of the change more often than another fact's m has {on}",
            "theory, as a proxy",
            number_at(results, f"{part}.sign_gain"),
            unit="points",
        )
        yield decide_claim(
            f"within a head, m ranks the change of its attention {on}",
            "theory, as a proxy",
            number_at(results, f"{part}.heads_rank_m"),
            unit="rank correlation",
            digits=2,
        )


def number_at(results: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the number at a dotted path, or an empty one where it was not measured."""
    found = reduce(lambda tree, name: tree.get(name) or {}, path.split("."), results)
    return found or NONE
