"""Models with a sink in the softmax, clipped values or no last norm: read as they compute, or refused."""

from __future__ import annotations

import pytest
import torch
import transformers

from finetune.common.errors import InputError
from interp.measures.attention import subject_attention
from interp.measures.decode import answer_tokens
from interp.measures.recall_parts import recall_parts
from interp.measures.score_gradient import harm_score
from interp.measures.softmax_sinks import sink_share
from interp.measures.value_readout import value_readout
from interp.measures.value_weighted import value_weighted_attention
from interp.models.parity import boot_checked_bridge
from interp.patching.interventions import Intervention, Knockout, Scale
from interp.patching.patch import patch
from tests.architectures import build
from tests.interp import measuring_fixtures as tiny

WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def sinking():
    config = transformers.GptOssConfig(
        vocab_size=len(tiny.tokenizer()),
        intermediate_size=32,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=4,
        initializer_range=0.2,
        **WIDTHS,
    )
    torch.manual_seed(0)
    plain = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith("sinks"):
                parameter.normal_()
    return boot_checked_bridge(plain, tiny.tokenizer(), "gpt_oss")[0]


def test_edits_leave_a_softmax_sink_its_share(sinking) -> None:
    cells = [
        Intervention(site="pattern", do=Scale(by=1.0), keys="subject"),
        Intervention(site="pattern", do=Knockout(), keys="subject"),
        Intervention(site="scores", do=Knockout(), keys="subject"),
    ]
    found = patch(sinking, tiny.batch(), cells, tiny.tokenizer(), max_new_tokens=0).effect
    assert found[0].abs().max() < 1e-5
    torch.testing.assert_close(found[1], found[2], atol=1e-4, rtol=0)
    assert found[1].abs().max() > 1e-2


def test_the_harm_score_is_the_slope_behind_a_softmax_sink(sinking) -> None:
    """Scaling by e^h adds h to the subject's scores: the slope is a quotient of differences."""
    batch, h = tiny.batch(), 1e-2
    cells = [
        Intervention(site="pattern", do=Scale(by=float(torch.tensor(s * h).exp())), keys="subject")
        for s in (1, -1)
    ]
    up, down = patch(sinking, batch, cells, tiny.tokenizer(), max_new_tokens=0).effect
    slopes = (up - down) / (2 * h)
    short = [
        len(ids) == 1 for ids in answer_tokens(tiny.tokenizer(), batch)
    ]  # of longer ones it is the first's
    scores = harm_score(sinking, batch, tiny.tokenizer()).values
    torch.testing.assert_close(scores[short], slopes[short].float(), atol=2e-3, rtol=0)
    assert sum(short) > 4


def test_rows_that_sum_to_one_leave_nothing() -> None:
    rows = torch.rand(3, 4, 200).softmax(-1)
    assert not sink_share(rows).any()
    assert not sink_share(rows.bfloat16()).any()
    torch.testing.assert_close(sink_share(rows * 0.75), torch.full((3, 4, 1), 0.25), atol=1e-5, rtol=0)


def test_a_model_without_a_last_norm_is_refused_where_heads_are_read() -> None:
    config = transformers.OPTConfig(
        vocab_size=len(tiny.tokenizer()),
        ffn_dim=48,
        word_embed_proj_dim=16,
        do_layer_norm_before=False,
        **WIDTHS,
    )
    torch.manual_seed(0)
    plain = transformers.AutoModelForCausalLM.from_config(config).eval()
    bridge = boot_checked_bridge(plain, tiny.tokenizer(), "opt-350m")[0]
    subject_attention(bridge, tiny.batch())
    for measure in (value_readout, recall_parts):
        with pytest.raises(InputError, match="no norm in front of its unembedding"):
            measure(bridge, tiny.batch(), tiny.tokenizer(), tiny.ANSWERS)


@pytest.mark.parametrize("bound", [None, 0.5])
def test_clipped_values_are_read_as_they_are_weighed(bound: float | None) -> None:
    """What heads write is what enters the plain model's output projection, head by head."""
    plain, batch = build("olmo", len(tiny.tokenizer()), clip_qkv=bound), tiny.batch()
    entered: list[torch.Tensor] = []
    for layer in plain.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda module, given: entered.append(given[0].detach())
        )
    with torch.inference_mode():
        plain(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    weights = [layer.self_attn.o_proj.weight for layer in plain.model.layers]
    expected = []
    for z, weight in zip(list(entered), weights, strict=True):
        heads = z[torch.arange(len(batch)), batch.last].unflatten(-1, (4, -1))
        written = torch.einsum("fha,dha->fhd", heads, weight.unflatten(1, (4, -1)))
        expected.append(written.norm(dim=-1))
    bridge = boot_checked_bridge(plain, tiny.tokenizer(), "olmo")[0]
    found = value_weighted_attention(bridge, batch).total
    torch.testing.assert_close(found, torch.stack(expected, 1).detach(), atol=1e-5, rtol=1e-4)
