"""What theory and paper claim of attention's movement, each claim decided by a number of the experiment."""

from __future__ import annotations

from collections.abc import Iterator

from analyses.experiments.one_layer_theory.numbers import DEEP, GEOMETRIES, WHERE, key
from analyses.experiments.one_layer_theory.rows import STEPPED, TRAINED
from interp.reports.pages.results_tables import Wording, decide_each
from interp.reports.pages.study import Claim
from interp.reports.read.results import Results

PLACES = {"own": "the example's own prompt", "untrained": "held-out subjects' prompts"}
RANK, PROXY = "rank correlation 2", "theory, as a proxy"
GRADIENTS: Wording = (
    "closed-form gradients equal automatic ones to 10 digits (one-layer)",
    "theory",
    "gradient/digits",
    "digits",
    10,
)
EXACT: Wording = ("the proxy m ranks examples as the exact m does (deep)", PROXY, "deep/proxy/rank", RANK)


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory and the paper claim."""
    first, *small = (wording for geometry in GEOMETRIES for wording in _small(geometry))
    deep = (wording for stepped in STEPPED for wording in _deep(stepped))
    return decide_each(results, (first, GRADIENTS, *small, *deep, EXACT))


def _small(geometry: str) -> Iterator[Wording]:
    model = f"one-layer, {geometry} embeddings"
    step, salience = f"{geometry}/step", f"{geometry}/salience"
    sign = f"the sign of m says which way a step moves attention to untrained subjects ({model})"
    yield sign, "theory", f"{step}/sign_untrained", "%", 0.5
    more = f"m has the sign of that movement more often than another fact's m has ({model})"
    yield more, "theory", f"{step}/sign_gain", "points"
    yield f"salience grows with sightings ({model})", "paper, claim 2", f"{salience}/rank", RANK
    rose = f"a sighting raises its own fact's salience more often than another subject's does ({model})"
    yield rose, "paper, claim 2", f"{salience}/rose_more", "points"
    for trained in TRAINED:
        runs, how = f"{geometry}/runs/{key(trained)}", f"({model}, {trained} trained)"
        gap = f"{runs}/contrasts/top_minus_bottom"
        off = f"the unpopular half takes more attention off held-out subjects than the popular one {how}"
        yield off, "paper, claim 3", f"{gap}/change", "points"
        larger = f"where a half's mean m at the start is larger, held-out subjects gain more attention {how}"
        yield larger, "theory", f"{runs}/follows/m_start", RANK
        yield (
            f"the popular half answers more held-out facts {how}",
            "paper, claim 1",
            f"{gap}/accuracy",
            "points",
        )


def _deep(stepped: str) -> Iterator[Wording]:
    for where in reversed(WHERE):
        part, on = f"{DEEP}/{key(stepped)}/{where}", f"on {PLACES[where]} (deep, step on {stepped})"
        better = f"m ranks the change of subject attention better than another fact's m does {on}"
        yield better, PROXY, f"{part}/rank_gain", RANK
        for number, among in (("rank_m", ""), ("rank_within_m", ", among examples of one relation,")):
            ranks = f"m{among} ranks the change of subject attention {on}"
            yield ranks, f"{PROXY}; added when seed 0 was seen", f"{part}/{number}", RANK
        sign = f"m has the sign of the change more often than another fact's m has {on}"
        yield sign, PROXY, f"{part}/sign_gain", "points"
        head = f"within a head, m ranks the change of its attention {on}"
        yield head, PROXY, f"{part}/heads_rank_m", RANK
