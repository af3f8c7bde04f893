"""The experiment popularity_proxies: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analyses.common.cli import show_study
from analyses.experiments.popularity_proxies.inputs import ProxyInputs
from analyses.experiments.popularity_proxies.numbers import agreement
from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions
from analyses.experiments.popularity_proxies.page import study
from analyses.experiments.popularity_proxies.proxies import PROXIES, measure_proxies, require_proxies
from finetune.common.errors import InputError
from finetune.common.files import atomic_file, write_json
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.data.loaders.columns import mapping
from interp.models.preflight import require_measurable
from interp.reports.pages.study_page import write_study


def run(options: PopularityProxiesOptions) -> Path:
    """Measure the proxies, compare them, and return the run directory.

    Raises:
        InputError: an option is wrong, or nothing can be compared; nothing has been written.
    """

    options.check()
    directory = RunDirectory(options.out, options.config(), analysis="popularity_proxies")
    if directory.finished:
        return options.out
    if options.base is not None:
        require_measurable(options.base)
    material = _material(options)
    names = select_proxies(options, material)
    about: dict[str, Any] = {
        "seeds": (options.seed,),
        "setting": f"{len(material.facts):,} facts of {material.facts.name}",
    }
    directory.write(**about)  # first of all, so that a killed run can be continued
    try:
        with directory.timed("measuring"):
            frame = measure_proxies(names, material)
        with directory.timed("comparing"):
            results = agreement(frame)
    except InputError:
        directory.discard()
        raise
    with atomic_file(options.out / "facts.parquet") as path:
        frame.to_parquet(path)
    write_json(options.out / "results.json", results)
    about["left_out"] = (*material.facts.left_out, *material.left_out)
    directory.write(**about)
    write_study(options.out, study(results, facts=about["setting"]))
    directory.write(finished=True, **about)
    return options.out


def select_proxies(options: PopularityProxiesOptions, material: ProxyInputs) -> tuple[str, ...]:
    """Return the proxies asked for, or all that can be measured.

    Raises:
        InputError: one that is unknown or lacks what it needs, or fewer than two of them.
    """
    given = {"": True, "base": options.base is not None, "corpus": options.corpus is not None}
    views = any(fact.popularity is not None for fact in material.facts)
    possible = (name for name, proxy in PROXIES.items() if given[proxy.needs] and (name != "views" or views))
    names = tuple(dict.fromkeys(options.proxies)) or tuple(possible)
    require_proxies(names, base=options.base, corpus=options.corpus)
    if len(names) < 2:
        raise InputError(f"--proxies {' '.join(names)}: give at least two to compare")
    return names


def _material(options: PopularityProxiesOptions) -> ProxyInputs:

    return ProxyInputs(
        facts=FactSet.load(
            options.facts, limit=options.limit, seed=options.seed, columns=mapping(options.columns)
        ),
        base=options.base,
        corpus=options.corpus,
        text_field=options.text_field,
        shots=options.shots,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
    )


show = show_study
