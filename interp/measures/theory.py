"""The one-layer model of factual recall, its gradients in closed form, and what they do to attention.

One attention head, fixed embeddings phi, no MLP, no positions; float64. A prompt is [s, p]: a subject and a
prompt token, which stands for the relation and its wording; the answer is read at p.

1. Score of key x: phi(x)^T W_KQ phi(p). Attention to the subject: sigma, to the prompt token: 1 - sigma.
2. Value of token x for answer a: v(x)_a = phi(a)^T W_V phi(x). *Salience* of a fact (s, p, a): v(s)_a.
3. Answer logits: sigma v(s) + (1 - sigma) v(p); probabilities q over the answers.
4. s_rel = v(s)^T (e_a - q), p_rel = v(p)^T (e_a - q), and m = sigma (1 - sigma) (s_rel - p_rel).
5. Minus the loss's gradient in W_KQ is m (phi(s) - phi(p)) phi(p)^T. Its part m phi(s) phi(p)^T moves the
   score of this subject, and of others only as far as their embeddings share directions with its own; its
   part -m phi(p) phi(p)^T moves the prompt token's own score, and so attention in *every* prompt with p.
6. So where m < 0, a step on the fact takes attention off all subjects asked with p; where m > 0, it brings
   attention to them.

The setting is that of Ghosal, Hashimoto & Raghunathan (ICML 2024); the formulas were derived here, and are
checked against automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from finetune.common.errors import InputError
from finetune.common.seeds import torch_generator


@dataclass(frozen=True, kw_only=True)
class OneLayer:
    """The model: embeddings of all tokens [token, d], which tokens are answers, W_V and W_KQ [d, d]."""

    embed: Float[Tensor, "token d"]
    answers: Int[Tensor, " answer"]
    w_v: Float[Tensor, "d d"]
    w_kq: Float[Tensor, "d d"]


@dataclass(frozen=True, kw_only=True)
class TheoryExamples:
    """Facts as token indices: subjects, prompt tokens, and right answers as places among the answers."""

    subject: Int[Tensor, " fact"]
    prompt: Int[Tensor, " fact"]
    answer: Int[Tensor, " fact"]

    def __getitem__(self, rows: Sequence[int] | Tensor) -> TheoryExamples:
        """Keep some facts."""
        return TheoryExamples(subject=self.subject[rows], prompt=self.prompt[rows], answer=self.answer[rows])

    def __len__(self) -> int:
        return len(self.subject)


@dataclass(frozen=True, kw_only=True)
class TheoryReading:
    """What the model makes of facts: all [fact], salience and relevances in logits, the loss in nats.

    ``m`` is step 4's; ``salience`` is v(s)_a less its mean over the answers, as only differences of logits
    matter.
    """

    attention: Float[Tensor, " fact"]
    salience: Float[Tensor, " fact"]
    s_rel: Float[Tensor, " fact"]
    p_rel: Float[Tensor, " fact"]
    m: Float[Tensor, " fact"]
    loss: Float[Tensor, " fact"]
    right: Float[Tensor, " fact"]


def untrained_model(
    tokens: int,
    answers: Sequence[int] | Int[Tensor, " answer"],
    *,
    width: int | None = None,
    scale: float = 0.0,
    seed: int = 0,
) -> OneLayer:
    """Make an untrained model: orthonormal embeddings, or random unit ones in a smaller ``width``.

    Args:
        tokens: how many there are.
        answers: which of them are answers.
        width: of random embeddings; orthonormal ones without it.
        scale: the standard deviation of W_V and W_KQ; at 0 attention is uniform and nothing is stored.
        seed: of what is random.

    Raises:
        InputError: no answer, or one that is no token.
    """
    answers = torch.as_tensor(answers).tolist()
    if not answers:
        raise InputError(f"answers: there are none; give some of the tokens 0 to {tokens - 1}")
    if odd := [answer for answer in answers if answer not in range(tokens)]:
        raise InputError(f"answers: {odd[0]} is not among the {tokens} tokens; choose from 0 to {tokens - 1}")
    generator = torch_generator(seed, "one-layer weights")
    if width is None:
        embed = torch.eye(tokens, dtype=torch.float64)
    else:
        embed = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
        embed = embed / embed.norm(dim=1, keepdim=True)
    d = embed.shape[1]
    w_v, w_kq = (scale * torch.randn(2, d, d, generator=generator, dtype=torch.float64)).unbind()
    return OneLayer(embed=embed, answers=torch.tensor(answers), w_v=w_v, w_kq=w_kq)


def values(model: OneLayer, tokens: Int[Tensor, " fact"]) -> Float[Tensor, "fact answer"]:
    """Return v(x) of tokens: what each adds to every answer's logit."""
    outputs = model.embed[model.answers]
    return einsum(outputs, model.w_v, model.embed[tokens], "answer i, i j, fact j -> fact answer")


def attention(model: OneLayer, examples: TheoryExamples) -> Float[Tensor, " fact"]:
    """Return the attention that the prompt token pays to the subject."""
    return torch.sigmoid(_scores(model, examples))


def logits(model: OneLayer, examples: TheoryExamples) -> Float[Tensor, "fact answer"]:
    """Return the answers' logits."""
    share = rearrange(attention(model, examples), "fact -> fact 1")
    return share * values(model, examples.subject) + (1 - share) * values(model, examples.prompt)


def loss(model: OneLayer, examples: TheoryExamples) -> Float[Tensor, " fact"]:
    """Return minus the log-probability of the right answer, nats."""
    return torch.nn.functional.cross_entropy(logits(model, examples), examples.answer, reduction="none")


def read_theory(model: OneLayer, examples: TheoryExamples) -> TheoryReading:
    """Read every quantity of the theory."""
    share, of_subject, of_prompt = (
        attention(model, examples),
        values(model, examples.subject),
        values(model, examples.prompt),
    )
    given = logits(model, examples)
    residual = _residual(given, examples)
    s_rel, p_rel = (einsum(v, residual, "fact answer, fact answer -> fact") for v in (of_subject, of_prompt))
    own = of_subject.gather(1, examples.answer[:, None])[:, 0]
    return TheoryReading(
        attention=share,
        salience=own - of_subject.mean(1),
        s_rel=s_rel,
        p_rel=p_rel,
        m=share * (1 - share) * (s_rel - p_rel),
        loss=loss(model, examples),
        right=(given.argmax(1) == examples.answer).double(),
    )


def kq_steps(
    model: OneLayer, examples: TheoryExamples
) -> tuple[Float[Tensor, "fact d d"], Float[Tensor, "fact d d"]]:
    """Return minus the loss's gradient in W_KQ of each fact, in closed form, as its two parts.

    Returns:
        The part local to the subject, m phi(s) phi(p)^T, and the one that all prompts with p share,
        -m phi(p) phi(p)^T. Their sum is the gradient step.
    """
    m = read_theory(model, examples).m
    s, p = model.embed[examples.subject], model.embed[examples.prompt]
    local = einsum(m, s, p, "fact, fact i, fact j -> fact i j")
    return local, -einsum(m, p, p, "fact, fact i, fact j -> fact i j")


def v_steps(model: OneLayer, examples: TheoryExamples) -> Float[Tensor, "fact d d"]:
    """Return minus the loss's gradient in W_V of each fact: the residual's answers times what is attended."""
    share = rearrange(attention(model, examples), "fact -> fact 1")
    attended = share * model.embed[examples.subject] + (1 - share) * model.embed[examples.prompt]
    towards = _residual(logits(model, examples), examples) @ model.embed[model.answers]
    return einsum(towards, attended, "fact i, fact j -> fact i j")


def step(
    model: OneLayer,
    examples: TheoryExamples,
    weights: Float[Tensor, " fact"],
    *,
    rate: float,
    kq: bool = True,
    v: bool = True,
) -> OneLayer:
    """Take one gradient step on weighted facts, in W_KQ, in W_V, or in both.

    Args:
        model: the one-layer model.
        examples: facts.
        weights: each fact's weight in the step.
        rate: the learning rate.
        kq: whether W_KQ learns.
        v: whether W_V learns.
    """
    w_kq, w_v = model.w_kq, model.w_v
    share = rearrange(attention(model, examples), "fact -> fact 1")
    s, p = model.embed[examples.subject], model.embed[examples.prompt]
    if kq:
        m = read_theory(model, examples).m * weights
        w_kq = w_kq + rate * einsum(m, s - p, p, "fact, fact i, fact j -> i j")
    if v:
        residual = _residual(logits(model, examples), examples) * weights[:, None]
        towards = residual @ model.embed[model.answers]
        w_v = w_v + rate * einsum(towards, share * s + (1 - share) * p, "fact i, fact j -> i j")
    return replace(model, w_kq=w_kq, w_v=w_v)


def _scores(model: OneLayer, examples: TheoryExamples) -> Float[Tensor, " fact"]:
    """Return the subject's attention score less the prompt token's own."""
    s, p = model.embed[examples.subject], model.embed[examples.prompt]
    return einsum(s - p, model.w_kq, p, "fact i, i j, fact j -> fact")


def _residual(given: Float[Tensor, "fact answer"], examples: TheoryExamples) -> Float[Tensor, "fact answer"]:
    """Return e_a - q."""
    return torch.nn.functional.one_hot(examples.answer, given.shape[1]) - given.softmax(1)
