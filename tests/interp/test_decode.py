"""Greedy decoding against Hugging Face's ``generate``."""

from __future__ import annotations

import pytest
import torch

from finetune.data.tokenization import tokenize
from interp.measures.decode import greedy
from tests.interp import measuring_fixtures as tiny

LENGTH = 5


@pytest.mark.parametrize("name", tiny.FEW)
def test_a_padded_batch_decodes_as_each_prompt_alone_in_generate(name: str) -> None:
    both, tokenizer = tiny.both(name), tiny.tokenizer()
    expected = []
    for tokens in tokenize(tokenizer, [p.text for p in tiny.prompts()]):
        ids = torch.tensor([tokens.ids])
        out = both.plain.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=LENGTH, do_sample=False
        )
        expected.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    said = greedy(both.hooked, tiny.batch(), tokenizer, max_new_tokens=LENGTH)
    assert said == expected
    assert len(set(said)) > 1


def test_a_hook_stays_at_its_prompt_position_at_every_step() -> None:
    """A hook that makes the last prompt token's row uniform gives what editing each full text gives."""
    both, tokenizer, one = tiny.both("llama"), tiny.tokenizer(), tiny.batch()[[5]]
    last = int(one.last[0])
    seen = []

    def flat(pattern: torch.Tensor, hook: object) -> torch.Tensor:
        seen.append(pattern.shape[-1])
        edited = pattern.clone()
        edited[:, :, last] = 0
        edited[:, :, last, : last + 1] = 1 / (last + 1)
        return edited

    hooks = [("blocks.1.attn.hook_pattern", flat)]
    said = greedy(both.hooked, one, tokenizer, max_new_tokens=3, hooks=hooks)
    ids = one.input_ids
    for _ in range(3):
        with torch.inference_mode():
            logits = both.hooked.run_with_hooks(
                ids, attention_mask=torch.ones_like(ids), fwd_hooks=hooks, use_cache=False
            )
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert said == [tokenizer.decode(ids[0, last + 1 :], skip_special_tokens=True).strip()]
    assert max(seen) == last + 3
