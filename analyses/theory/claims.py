"""What theory and paper claim of attention's movement, each claim decided by a number of the experiment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

from analyses.theory.numbers import DEEP, GEOMETRIES, WHERE, key
from analyses.theory.rows import STEPPED, TRAINED

if TYPE_CHECKING:
    from interp.study import Claim

NONE: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0}
PLACES = {"own": "the example's own prompt", "untrained": "held-out subjects' prompts"}


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory and the paper claim."""
    from interp.study import claimed

    first = claimed(
        "closed-form gradients equal automatic ones to 10 digits (one-layer)",
        "theory",
        at(results, "gradient.digits"),
        above=10,
        unit="digits",
    )
    small = [claim for geometry in GEOMETRIES for claim in _small_claims(results, geometry)]
    deep = [claim for stepped in STEPPED for claim in _deep_claims(results, stepped)]
    proxy = claimed(
        "the proxy m ranks examples as the exact m does (deep)",
        "theory, as a proxy",
        at(results, "deep.proxy.rank"),
        unit="rank correlation",
        digits=2,
    )
    return (small[0], first, *small[1:], *deep, proxy)


def _small_claims(results: dict[str, Any], geometry: str) -> Iterator[Claim]:
    from interp.study import claimed

    model = f"one-layer, {geometry} embeddings"
    step, salience = f"{geometry}.step", f"{geometry}.salience"
    yield claimed(
        f"the sign of m says which way a step moves attention to untrained subjects ({model})",
        "theory",
        at(results, f"{step}.sign_untrained"),
        above=0.5,
        unit="%",
    )
    yield claimed(
        f"m has the sign of that movement more often than another fact's m has ({model})",
        "theory",
        at(results, f"{step}.sign_gain"),
        unit="points",
    )
    yield claimed(
        f"salience grows with sightings ({model})",
        "paper, claim 2",
        at(results, f"{salience}.rank"),
        unit="rank correlation",
        digits=2,
    )
    yield claimed(
        f"a sighting raises its own fact's salience more often than another subject's does ({model})",
        "paper, claim 2",
        at(results, f"{salience}.rose_more"),
        unit="points",
    )
    for trained in TRAINED:
        runs = f"{geometry}.runs.{key(trained)}"
        yield claimed(
            f"the unpopular half takes more attention off held-out subjects than the popular one "
            f"({model}, {trained} trained)",
            "paper, claim 3",
            at(results, f"{runs}.contrasts.top_minus_bottom.change"),
            unit="points",
        )
        yield claimed(
            f"where a half's mean m at the start is larger, held-out subjects gain more attention "
            f"({model}, {trained} trained)",
            "theory",
            at(results, f"{runs}.follows.m_start"),
            unit="rank correlation",
            digits=2,
        )
        yield claimed(
            f"the popular half answers more held-out facts ({model}, {trained} trained)",
            "paper, claim 1",
            at(results, f"{runs}.contrasts.top_minus_bottom.accuracy"),
            unit="points",
        )


def _deep_claims(results: dict[str, Any], stepped: str) -> Iterator[Claim]:
    from interp.study import claimed

    for where in reversed(WHERE):
        part, on = f"{DEEP}.{key(stepped)}.{where}", f"on {PLACES[where]} (deep, step on {stepped})"
        yield claimed(
            f"m ranks the change of subject attention better than another fact's m does {on}",
            "theory, as a proxy",
            at(results, f"{part}.rank_gain"),
            unit="rank correlation",
            digits=2,
        )
        for number, among in (("rank_m", ""), ("rank_within_m", ", among examples of one relation,")):
            yield claimed(
                f"m{among} ranks the change of subject attention {on}",
                "theory, as a proxy; added when seed 0 was seen",
                at(results, f"{part}.{number}"),
                unit="rank correlation",
                digits=2,
            )
        yield claimed(
            f"m has the sign of the change more often than another fact's m has {on}",
            "theory, as a proxy",
            at(results, f"{part}.sign_gain"),
            unit="points",
        )
        yield claimed(
            f"within a head, m ranks the change of its attention {on}",
            "theory, as a proxy",
            at(results, f"{part}.heads_rank_m"),
            unit="rank correlation",
            digits=2,
        )


def at(results: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the number at a dotted path, or an empty one where it was not measured."""
    found = reduce(lambda tree, name: tree.get(name) or {}, path.split("."), results)
    return found or NONE
