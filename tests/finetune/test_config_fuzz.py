"""Random configurations and weight files make the right model or one line: no other exception, no hanging.

FACTSCOPE_FUZZ=2000 draws so many for each architecture instead of a few.
"""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from finetune.checkpoints.loading import configuration_of, context_of, load_weights
from finetune.common.errors import InputError

DRAWS = int(os.environ.get("FACTSCOPE_FUZZ", "20"))
NAMES = ("llama", "gpt2", "qwen2", "gemma3", "gpt_neo", "falcon")
ABSENT = object()

SMALL, LARGE = [-32, -1, 0, 1, 2, 3, 5, 8, 16, 31, 32, 33, 64, 128], [10**4, 10**6, 10**9, 10**12, 10**40]
WORDS = ["2", "gelu", "float16", "default", "linear", "yarn", "full_attention", "../x", "evil/kernel"]
KEYS = ["rope_type", "type", "factor", "rope_theta", "quant_method", "0", "text_config"]
SHAPED = {
    "transpose": lambda value: value.T.contiguous() if len(set(value.shape)) == 2 else value[:-1].clone(),
    "cut": lambda value: value[:-1].clone(),
    "flatten": lambda value: value.flatten()[None],
}
SIZES = st.sampled_from([*SMALL, *LARGE])
SCALARS = st.one_of(
    SIZES,
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)
# Fields that a class reads though its config.json does not name them.
MORE = (
    "attn_implementation",
    "architectures",
    "attribute_map",
    "base_config",
    "dtype",
    "head_dim",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "layer_types",
    "num_labels",
    "output_attentions",
    "pruned_heads",
    "quantization_config",
    "return_dict",
    "rope_scaling",
    "sliding_window",
    "text_config",
    "torch_dtype",
    "transformers_weights",
    "use_cache",
    "use_return_dict",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_random_configurations_end_in_a_model_or_a_line(tiny_model, tmp_path, name) -> None:
    folder = Path(shutil.copytree(tiny_model(name), tmp_path / "model"))
    path = folder / "config.json"
    own = json.loads(path.read_text())
    fields = st.sampled_from([*own, *MORE])

    @settings(
        max_examples=DRAWS,
        deadline=timedelta(seconds=60),
        derandomize=DRAWS < 100,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(changes=st.dictionaries(fields, st.one_of(VALUES, st.just(ABSENT)), min_size=1, max_size=3))
    def drawn(changes: dict[str, object]) -> None:
        config = {k: v for k, v in (own | changes).items() if v is not ABSENT}
        path.write_text(json.dumps(config))
        for load in (configuration_of, context_of, load_weights):
            try:
                load(folder)
            except InputError as error:
                said = str(error)
                assert "\n" not in said, said
                assert said.isprintable(), said
                assert len(said) < 1200, said

    drawn()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_random_weight_files_are_the_right_model_or_a_line(tiny_model, tmp_path, name) -> None:
    """Whatever is dropped, renamed, copied, reshaped or cut: never other logits."""
    folder = Path(shutil.copytree(tiny_model(name), tmp_path / "model"))
    path = folder / "model.safetensors"
    state, ids = load_file(path), torch.arange(3, 9)[None]
    wrapped = ("{}", "module.{}", "_orig_mod.{}", "base_model.model.{}", "model.{}", "transformer.{}", "x.{}")
    changes = st.sampled_from(["drop", "copy", "transpose", "cut", "flatten"])
    with torch.inference_mode():
        expected = load_weights(folder)(ids).logits

    @settings(
        max_examples=DRAWS, deadline=None, derandomize=DRAWS < 100, suppress_health_check=list(HealthCheck)
    )
    @given(
        form=st.sampled_from(wrapped),
        whole=st.booleans(),
        changed=st.dictionaries(st.sampled_from(sorted(state)), changes, max_size=2),
        ends=st.one_of(st.none(), st.integers(0, 9000)),
    )
    def drawn(form: str, whole: bool, changed: dict[str, str], ends: int | None) -> None:
        made: dict[str, torch.Tensor] = {}
        for i, (key, value) in enumerate(state.items()):
            new, change = form.format(key) if whole or i % 2 else key, changed.get(key)
            if change == "copy":
                made[f"module.{new}"] = value + 1
            if change != "drop":
                made[new] = SHAPED.get(change or "", torch.clone)(value)
        save_file(made, path, metadata={"format": "pt"})
        if ends is not None:
            path.write_bytes(path.read_bytes()[:ends])
        try:
            with torch.inference_mode():
                found = load_weights(folder)(ids).logits
        except InputError:
            return
        assert torch.equal(found, expected)

    drawn()
