"""What popularity_splits is given besides its options, as digests: facts, corpus, splits and bases.

A run that other contents began is not continued, and an archived cell of others is not taken.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from analyses.common.experiment import Loaded
from analyses.common.grid_cells import GridCell
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import home_of
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.files import content_hash, read_json
from finetune.common.run_files import MANIFEST

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")  # extensions


def load(options: PopularitySplitsOptions) -> Loaded:
    """Say what the facts, the corpus and the splits hold; bases are compared file by file."""
    # Attention to subjects and verdicts need to know them; training and asking do not.
    facts = options.digests(subjects=bool(options.analyse) or options.measures)
    corpus = options.corpus and content_hash(options.corpus.expanduser())
    digests = {"facts_digests": facts, "corpus_digest": corpus, "splits_digests": _splits(options)}
    return Loaded(config=digests, sources=dict(options.models))


def cell_digests(options: PopularitySplitsOptions, cell: GridCell, run: Path) -> dict[str, str]:
    """Return digests of what one cell is made of, by option; of a base its weights, wherever they stand."""
    held, dataset, model = read_json(run / MANIFEST)["config"], cell.params["dataset"], cell.params["model"]
    base = dict(options.models)[model]
    found = {
        "facts": held["facts_digests"].get(dict(options.sources)[dataset]),
        "base": base and _weights_digest(resolve_checkpoint(base)),
        "corpus": held["corpus_digest"],
        "splits": held["splits_digests"].get(f"{dataset},{model},{cell.seed}"),
    }
    return {name: digest for name, digest in found.items() if digest}


def _splits(options: PopularitySplitsOptions) -> dict[str, str]:
    if options.splits is None:
        return {}
    homes = [
        home_of(options.splits, dataset, model, seed)
        for dataset, _ in options.sources
        for model, _ in options.models
        for seed in options.seeds
    ]
    # One that is missing is refused by name when it is read.
    files = {home.name: home / "partition.json" for home in homes}
    return {name: content_hash(file) for name, file in files.items() if file.is_file()}


def _weights_digest(base: str) -> str:
    """Hash a base's weights by the names and contents of their files; a hub id stands for itself."""
    if not Path(base).is_dir():
        return base
    files = sorted(path for path in Path(base).iterdir() if path.suffix in WEIGHTS)
    told = [(path.name, content_hash(path)) for path in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()
