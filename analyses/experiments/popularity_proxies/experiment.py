"""The experiment popularity_proxies: its steps, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment, Loaded, Measured
from analyses.experiments.popularity_proxies.inputs import ProxyInputs
from analyses.experiments.popularity_proxies.numbers import agreement
from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions
from analyses.experiments.popularity_proxies.page import study
from analyses.experiments.popularity_proxies.proxies import PROXIES, measure_proxies, require_proxies
from finetune.common.errors import InputError
from finetune.common.files import content_hash
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.data.loaders.columns import mapping
from finetune.data.phrasebooks import load_phrasebook
from finetune.training.training_format import remembered_format
from interp.models.preflight import require_measurable


def load(options: PopularityProxiesOptions) -> Loaded:
    """Load the facts, and say what they and the corpus hold, so that changed ones are noticed."""
    facts = FactSet.load(
        options.facts, limit=options.limit, seed=options.seed, columns=mapping(options.columns)
    )
    corpus = options.corpus and content_hash(options.corpus.expanduser())
    digests = {"facts_digest": facts.digest, "corpus_digest": corpus}
    return Loaded(inputs=facts, config=digests, sources={"base": options.base})


def accept(options: PopularityProxiesOptions, facts: FactSet, run: RunDirectory) -> ProxyInputs:
    """See that the base is one that can be measured, and that proxies suffice.

    Raises:
        InputError: base or proxies cannot be used; nothing has been written.
    """
    if options.base is not None:
        require_measurable(options.base)
    book = None if options.phrasebook is None else load_phrasebook(options.phrasebook, facts)
    material = ProxyInputs(
        facts=facts,
        base=options.base,
        book=book,
        style=options.style if options.base is None else remembered_format(options.base, options.style),
        dtype=options.dtype,
        corpus=options.corpus,
        text_field=options.text_field,
        shots=options.shots,
        seed=options.seed,
        batch_tokens=options.batch_tokens,
    )
    select_proxies(options, material)
    return material


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


def measure(options: PopularityProxiesOptions, material: ProxyInputs, run: RunDirectory) -> Measured:
    """Measure the proxies and compare them."""
    with run.timed("measuring"):
        rows = measure_proxies(select_proxies(options, material), material)
    with run.timed("comparing"):
        compared = agreement(rows)
    setting = f"{len(material.facts):,} facts of {material.facts.name}"
    return Measured(
        rows=rows,
        found={"results": compared, "facts": setting},
        details={"setting": setting},
        left_out=(*material.facts.left_out, *material.left_out),
    )


EXPERIMENT = Experiment(
    name="popularity_proxies",
    load=load,
    accept=accept,
    steps=measure,
    summarise=lambda found: dict(found["results"]),
    study=lambda found, results: study(results, facts=found["facts"]),
)
