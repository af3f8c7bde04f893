"""Rows of the one-layer theory's experiment: facts, single steps and fine-tunings, in small and deep."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analyses.common.options import TrainingOptions
from analyses.common.placebos import of_another
from analyses.common.training_setup import TrainingSetup, make_training_setup, setting_for
from analyses.experiments.one_layer_theory.single_steps import load_exact, step_effects
from analyses.experiments.one_layer_theory.toy_model import (
    Geometry,
    Shape,
    ToyTokens,
    finetune,
    gradient_gap,
    make_tokens,
    pretrain,
    untrained_toy_model,
)
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.splits import Partition, partition
from interp.measures.score_gradient import direct_path_score, harm_score
from interp.measures.spans import encode
from interp.measures.theory import OneLayer, attention, read_theory, step
from interp.models.load_pair import load_pair

TRAINED = ("W_KQ", "W_KQ and W_V")
STEPPED = ("all weights", "W_Q and W_K")


def one_layer_rows(
    options: TrainingOptions, shape: Shape, geometry: Geometry, *, seed: int, examples: int
) -> pd.DataFrame:
    """Pretrain one small model, read it, take single steps and fine-tune it on every arm.

    Args:
        options: say which arms there are.
        shape: what the world and the model are made of.
        geometry: how the embeddings lie.
        seed: of everything drawn.
        examples: how many training facts single steps are taken on.
    """
    world = make_tokens(shape, seed=seed)
    model, seen = pretrain(untrained_toy_model(shape, geometry, seed=seed), world, seed=seed)
    parts = partition(world.facts, seed=seed)
    some = parts.train.subset(_sample(len(parts.train), 20, seed))
    gap = max(gradient_gap(model, each[world.rows(some)]) for each in (world.stated, world.asked))
    check = pd.DataFrame({"kind": ["gradient"], "gap": [gap], "compared": [4 * len(some)], "subject": [""]})
    steps = _steps(shape, world, model, parts, examples, seed)
    return pd.concat(
        [check, _facts(world, model, seen), steps, *_runs(options, shape, world, model, parts, seed)],
        ignore_index=True,
    )


def _facts(world: ToyTokens, model: OneLayer, seen: dict[str, Any]) -> pd.DataFrame:
    """One row per fact: how often it was met, and what became of its salience."""
    reading = read_theory(model, world.stated)
    salience, stated = reading.salience.numpy(), reading.right.numpy()
    return _labelled(world.facts, kind="fact", salience=salience, stated=stated, **seen)


def _steps(
    shape: Shape, world: ToyTokens, model: OneLayer, parts: Partition, examples: int, seed: int
) -> pd.DataFrame:
    """One row per training fact: m, and what one small step on it does to attention."""
    taught = parts.train.subset(_sample(len(parts.train), examples, seed))
    rows, held = world.rows(taught), world.asked[world.rows(parts.test)]
    m = read_theory(model, world.asked[rows]).m
    start, own = attention(model, held), attention(model, world.asked[rows])
    made = []
    for i, row in enumerate(rows):
        one = world.asked[[int(row)]]
        weight = torch.ones(1, dtype=torch.float64)
        # A step in W_V moves no attention in this model, so one in W_KQ stands for one in both.
        after = step(model, one, weight, rate=shape.small_rate, v=False)
        change = attention(after, held) - start
        same = held.prompt == one.prompt
        made.append(
            {
                "own": float(attention(after, one)[0] - own[i]),
                "untrained": float(change[same].mean()),
                "other_prompts": float(change[~same].mean()),
                "agreeing": float((change[same] * m[i] > 0).double().mean()),
            }
        )
    relations = [fact.relation for fact in taught]
    frame = _labelled(taught, kind="step", m=m.numpy(), m_other=of_another(m, relations, seed=seed).numpy())
    return frame.assign(**{name: np.array([row[name] for row in made]) for name in made[0]})


def _runs(
    options: TrainingOptions, shape: Shape, world: ToyTokens, model: OneLayer, parts: Partition, seed: int
) -> list[pd.DataFrame]:
    """One row per held-out fact, arm and what was trained: attention and answers, before and after."""
    rows = world.rows(parts.test)
    before, stated = read_theory(model, world.asked[rows]), read_theory(model, world.stated[rows]).right
    frames = []
    for arm, facts in options.arms(parts.train, seed=seed).items():
        taught = world.asked[world.rows(facts)]
        for trained in TRAINED:
            tuned, steps = finetune(model, taught, shape, v=trained == TRAINED[1])
            after = read_theory(tuned, world.asked[rows])
            same = (world.asked.prompt[rows, None] == taught.prompt[None]).double()
            m_start, m_whole = ((same @ m) / same.sum(1) for m in (steps[0], steps.mean(0)))
            frames.append(
                _labelled(
                    parts.test,
                    kind="run",
                    arm=arm,
                    trained=trained,
                    known=stated.bool().numpy(),
                    change=(after.attention - before.attention).numpy(),
                    before=before.attention.numpy(),
                    correct=after.right.bool().numpy(),
                    correct_before=before.right.bool().numpy(),
                    m_start=m_start.numpy(),
                    m_whole=m_whole.numpy(),
                )
            )
    return frames


def deep_rows(
    options: TrainingOptions, *, seed: int, examples: int, watched: int, rate: float
) -> pd.DataFrame:
    """Read a pretrained base and take single steps: a row an example, kind of step and head.

    In rows of head -1, m is the sum over heads and a change of attention their mean.

    Args:
        options: the world and its base.
        seed: of everything drawn.
        examples: how many training facts single steps are taken on.
        watched: how many held-out prompts of the relation each step is measured on.
        rate: the step's learning rate.
    """
    setup = make_training_setup(setting_for(options, None, seed), cache=options.bases, seed=seed)
    taught = setup.parts.train.subset(_sample(len(setup.parts.train), examples, seed))
    read = _read(setup, taught, seed, options.batch_tokens)
    layers, heads = read["m"].shape[1:]
    frames = []
    for stepped in STEPPED:
        changed = _moved(setup, taught, stepped, watched=watched, rate=rate)
        frame = _labelled(taught, kind="deep", stepped=stepped)
        whole = {name: m.sum((1, 2)).numpy() for name, m in read.items()}
        whole |= {name: change.mean((1, 2)).numpy() for name, change in changed.items()}
        frames.append(frame.assign(layer=-1, head=-1, **whole))
        for layer, head in product(range(layers), range(heads)):
            of_head = {name: each[:, layer, head].numpy() for name, each in (read | changed).items()}
            frames.append(frame.assign(layer=layer, head=head, **of_head))
    return pd.concat(frames, ignore_index=True)


def _read(setup: TrainingSetup, taught: FactSet, seed: int, batch_tokens: int) -> dict[str, Tensor]:
    """Return m at the base as the proxy has it, exactly, and, as the placebo, another fact's; per head."""
    pair = load_pair(str(setup.base))
    batch = encode(pair.tokenizer, setup.asked(taught))
    with pair.finetuned() as model:
        proxy = direct_path_score(model, batch, pair.tokenizer, batch_tokens=batch_tokens)
        exact = harm_score(model, batch, pair.tokenizer, batch_tokens=batch_tokens).per_head
    other = of_another(proxy, [fact.relation for fact in taught], seed=seed)
    return {"m": proxy, "m_exact": exact, "m_other": other}


def _moved(
    setup: TrainingSetup, taught: FactSet, stepped: str, *, watched: int, rate: float
) -> dict[str, Tensor]:
    """Return how a step on each fact moves attention on its own prompt and on held-out subjects' prompts."""
    held = setup.asked(setup.parts.test)
    of_relation = {r: [p for p in held if p.relation == r] for r in taught.relations}
    chosen = {
        r: [some[i] for i in _sample(len(some), watched, setup.seed)] for r, some in of_relation.items()
    }
    model, tokenizer = load_exact(setup.base)
    moved = step_effects(
        model,
        tokenizer,
        setup.asked(taught),
        [chosen[fact.relation] for fact in taught],
        query_key=stepped == STEPPED[1],
        rate=rate,
    )
    return {"own": moved.own, "untrained": moved.elsewhere}


def _labelled(facts: FactSet, **columns: Any) -> pd.DataFrame:
    frame = facts.to_frame()[["id", "subject", "relation", "popularity"]].rename(columns={"id": "fact_id"})
    return frame.assign(**columns)


def _sample(n: int, size: int, seed: int) -> list[int]:
    return sorted(generator(seed, "rows sampled").permutation(n)[:size].tolist())
