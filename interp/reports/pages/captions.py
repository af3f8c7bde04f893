"""What the figures of a run show, worded from its numbers: which side arms part on, what rose, what fell.

Two intervals that do not overlap are called apart, one that excludes zero is settled; all else is said not to
be clear. No sentence here says more than the bars of its figure do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from interp.reports.figures.headlines import QUARTILES, drawn_contrasts
from interp.reports.pages import sentences as wording
from interp.reports.pages.study import format_value
from interp.reports.read.fact_attention import BASE, reference_of
from interp.reports.read.run import MeasuredEstimate, Run

QUARTERS = dict(
    zip(QUARTILES, ("the most popular", "the second", "the third", "the least popular"), strict=True)
)
MOST_NAMED = 4
_tenth = partial(format_value, digits=1, percent=False, signed=False)


def observed(run: Run, chart: str) -> str:
    """Say what a chart of a run shows; nothing where its numbers are not at hand."""
    say = OBSERVED.get(chart)
    return "" if say is None else say(run)


def title_of(run: Run, chart: str, default: str) -> str:
    """Return the heading of a chart: of attention, whether it rose or fell."""
    if chart != "attention_by_head" or run.attention is None or BASE not in run.attention.mean:
        return default
    ups, downs = (sum(of[sign] for of in _moved_heads(run).values()) for sign in (1, -1))
    few, many, word = min(ups, downs), max(ups, downs), "fell" if downs > ups else "rose"
    if not many:
        word = "did not clearly change"
    elif 4 * few >= many:
        word = "moved both ways"
    return f"Attention to the subject {'mostly ' * (0 < 4 * few < many)}{word}, head by head"


def apart(first: MeasuredEstimate | None, second: MeasuredEstimate | None) -> int:
    """Return 1 or -1 where the first's interval lies above or below the second's, else 0."""
    if first is None or second is None or None in (first.low, first.high, second.low, second.high):
        return 0
    return int(first.low > second.high) - int(first.high < second.low)  # type: ignore[operator]


def _pair(run: Run) -> tuple[str, str]:
    """Return the two arms that the run is about: the halves, or the first own arm and the base."""
    return ("top", "bottom") if run.halves else (next(a for a in (*run.arms, BASE) if a != BASE), BASE)


def _quarters(run: Run) -> str:
    first, second = _pair(run)
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for quarter, name in QUARTERS.items():
        found = [run.number("arms", arm, "accuracy_by_quartile", quarter) for arm in (first, second)]
        if all(found):
            sides[apart(*found)].append(name)
    if not any(sides.values()):
        return ""
    told = [
        f"{above} lies above {below}, bars apart, in {_listed(sides[sign])} quarter"
        + "s" * (len(sides[sign]) > 1)
        for sign, above, below in ((1, first, second), (-1, second, first))
        if sides[sign]
    ]
    return f"{'; '.join(told) if told else f'The bars of {first} and {second} overlap in every quarter'}."


def _settled(run: Run) -> str:
    kinds: dict[str, str] = {
        "accuracy_known": "accuracy on known facts",
        "accuracy": "accuracy on all facts",
        "subject_attention": "mass",
    }
    told = [
        f"{wording.contrast_name(name)}, {label} {wording.format_number(gap.value, kind, signed=True)} "
        f"({wording.format_interval(gap, kind, signed=True)})"
        for name in drawn_contrasts(run)
        for kind, label in kinds.items()
        if (gap := run.number("contrasts", name, kind)) and gap.direction
    ]
    if not told:
        return "No difference is clear of zero."
    more = f"; and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return f"Clear of zero: {'; '.join(told[:MOST_NAMED])}{more}."


def _recovered(run: Run) -> str:
    gap = run.number("recovery", "difference")
    if gap is None:
        return ""
    size = f"{wording.format_number(abs(gap.value), 'accuracy')} points"
    stands = wording.format_evidence(run, gap, "accuracy", signed=True)
    return str(wording.run_words()["recovered"][gap.direction]).format(size=size, stands=stands)


def _moved_heads(run: Run) -> dict[str, dict[int, int]]:
    """Count by arm the heads whose interval lies above or below the base's."""
    maps = run.attention
    if maps is None or BASE not in maps.mean:
        return {}
    found = {}
    for arm in maps.mean:
        if arm != BASE:
            moved, change = maps.moved(arm, BASE), maps.mean[arm] - maps.mean[BASE]
            found[arm] = {1: int((moved & (change > 0)).sum()), -1: int((moved & (change < 0)).sum())}
    return found


def _heads(run: Run) -> str:
    found = _moved_heads(run)
    if not found or run.attention is None:
        return ""
    count = run.attention.mean[BASE].size
    told = [
        f"{arm} {of[-1]} fell and {of[1]} rose" if of[1] or of[-1] else f"{arm} none moved"
        for arm, of in found.items()
    ]
    return f"Of {count} heads, clearly against the base: {'; '.join(told[: 2 * MOST_NAMED])}."


def _against_base(run: Run, key: str, *, scale: float, unit: str, label: str) -> str:
    """Say which arms lie clearly above or below the base in a number of theirs."""
    base = run.number("arms", BASE, key)
    if base is None:
        return ""
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for arm in run.arms:
        if arm != BASE and (found := run.number("arms", arm, key)):
            sides[apart(found, base)].append(f"{arm} {_tenth(scale * found.value)}{unit}")
    words = {-1: "clearly less", 1: "clearly more", 0: "not clearly apart"}
    told = [f"{words[sign]}: {', '.join(sides[sign])}" for sign in (-1, 1, 0) if sides[sign]]
    return f"{label}, base {_tenth(scale * base.value)}{unit}; {'; '.join(told)}."


def _hidden(run: Run) -> str:
    return _against_base(run, "knockout_subject", scale=1, unit=" nats", label="Lost without the subject")


def _read(run: Run) -> str:
    pairs = (("readout_stored", "Stored"), ("readout_used", "Used"))
    told = (_against_base(run, key, scale=100, unit="%", label=label) for key, label in pairs)
    return " ".join(filter(None, told))


def _along(run: Run) -> str:
    steps = sorted((int(m[1]), arm) for arm in run.arms if (m := re.fullmatch(r"checkpoint-(\d+)", arm)))
    if len(steps) < 2:
        return ""
    first, (step, last) = BASE if BASE in run.arms else steps[0][1], steps[-1]
    told = []
    kinds: dict[str, str] = {"accuracy": "Accuracy", "subject_attention": "Mass"}
    for kind, label in kinds.items():
        before, after = (run.number("arms", arm, kind) for arm in (first, last))
        if before and after:
            word = {1: "rises", -1: "falls", 0: "does not clearly change,"}[apart(after, before)]
            ends = " to ".join(wording.format_number(each.value, kind) for each in (before, after))
            told.append(f"{label} {word} from {ends} by step {step}.")
    return " ".join(told)


def _fact(run: Run) -> str:
    if (fact := run.example) is None:
        return ""
    before = reference_of(fact.patterns)
    masses = {arm: float(fact.subject_mass(arm).mean()) for arm in fact.patterns}
    told = ", ".join(f"{arm} {mass:.2f}" for arm, mass in masses.items() if arm != before)
    return f"Mean over all heads, of this fact, sinks included: {before} {masses[before]:.2f}; {told}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


OBSERVED: dict[str, Callable[[Run], str]] = {
    "accuracy_by_quartile": _quarters,
    "contrasts": _settled,
    "recovery": _recovered,
    "attention_by_head": _heads,
    "hidden": _hidden,
    "readout": _read,
    "trajectory": _along,
    "fact_attention": _fact,
}
