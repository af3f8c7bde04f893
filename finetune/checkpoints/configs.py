"""Reading a model's configuration as data: no code, no kernels, and only sizes that a model can have.

A ``config.json`` comes from strangers. Before a library acts on it, it is read as plain JSON and its counts
are bounded, for some classes build lists of that length. What could fetch or choose code is taken out
afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.common.text_files import read_json_object

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MOST = 10_000  # layers, heads, experts and the like; far above any model
MOST_IN_A_LIST = 1_000_000
COPY_AGAIN = "copy it again from where the checkpoint was saved"
# What a configuration may ask for and does not get: attention and expert kernels, fusions, other files, code.
CODE = (
    "auto_map",
    "attn_implementation",
    "custom_generate",
    "custom_pipelines",
    "distributed_config",
    "experts_implementation",
    "fusion_config",
    "kernel_config",
    "transformers_weights",
    "use_kernels",
)
IMPLEMENTATIONS = ("_attn_implementation", "_experts_implementation")
# Quantised weights whose arithmetic is a library's own; the others fetch kernels from the hub.
QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "quanto": "optimum",
}
_COUNT = re.compile(r"(^|_)(layers?|heads?|experts?|blocks?|depths?|groups|stages|labels|codebooks)(_|$)")
_NO_COUNT = re.compile(r"(size|dim|freq|eps|epsilon|theta|ids?|idx|index|type|types|ratio|factor|scale)$")
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def require_bounded(raw: dict[str, Any], path: Path) -> None:
    """Refuse counts that no model has, before a library builds a list of that length.

    Raises:
        InputError: names the setting.
    """
    for name, value in _integers(raw):
        key = name.rpartition(".")[2]
        counted = _COUNT.search(key) and not _NO_COUNT.search(key)
        most = MOST_IN_A_LIST if key.endswith("[]") and "token" not in key else MOST if counted else None
        if most is not None and value > most:
            shown = str(value) if value < 10**18 else f"a number of {len(str(value))} digits"
            raise InputError(
                f"{path}: {name.removesuffix('[]')} is {shown}, more than any model has; "
                "use the config.json that was saved with the weights"
            )


def configuration_from(source: str | Path, path: Path) -> PreTrainedConfig:
    """Make the configuration of ``source``, whose config.json lies at ``path``, without what asks for code.

    Raises:
        InputError: it is malformed, asks for a model that is not known, or for one that cannot be.
    """
    from transformers import AutoConfig

    raw = read_json_object(path, remedy=COPY_AGAIN)
    require_bounded(raw, path)
    try:
        config = AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # configuration classes raise whatever their checks come upon
        raise InputError(f"{source}: cannot be loaded ({_about(raw, error)}); {_remedy(raw)}") from error
    for part in _parts(config):
        for name in CODE:
            part.__dict__.pop(name, None)
        for name in IMPLEMENTATIONS:
            part.__dict__[f"{name}_internal"] = None
    _require_sizes(config, path)
    _require_quantiser(config, source)
    return config


def _require_sizes(config: PreTrainedConfig, path: Path) -> None:
    named = config.architectures
    if named is not None and not (isinstance(named, list) and all(isinstance(n, str) for n in named)):
        raise InputError(
            f"{path}: architectures is {str(named)[:40]!r}, and must be a list of names; "
            "use the config.json that was saved with the weights"
        )
    text = config.get_text_config()
    own = getattr(text, "attribute_map", {})
    for name in _SIZES:
        value = getattr(text, name, None)
        if value is None:
            continue
        if isinstance(value, list) and value and all(isinstance(v, int) and v > 0 for v in value):
            continue  # some give each layer its own number of heads
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"{path}: {own.get(name, name)} is {str(value)[:40]!r}, and must be a whole number above 0; "
                "use the config.json that was saved with the weights"
            )


def _require_quantiser(config: PreTrainedConfig, source: str | Path) -> None:
    asked = getattr(config, "quantization_config", None)
    if not asked:
        return
    method = asked.get("quant_method") if isinstance(asked, dict) else getattr(asked, "quant_method", None)
    method = str(getattr(method, "value", method))
    method = "bitsandbytes" if method.startswith("bitsandbytes") else method
    package = QUANTISERS.get(method)
    if package is None:
        raise InputError(
            f"{source}: its weights are quantised by {method[:40]!r}, which is not supported (it may fetch "
            "code to compute with); name the same model in bfloat16 or float32"
        )
    if find_spec(package) is None:
        raise InputError(
            f"{source}: its weights are quantised by {method}, which needs the package {package}; install "
            "it, or name the same model in bfloat16 or float32"
        )


def _parts(config: Any) -> Iterator[Any]:
    """Yield a configuration and those inside it."""
    from transformers import PreTrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def _integers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield every whole number below a JSON value with its dotted name; those in lists end in ``[]``."""
    todo = [(name, value)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
        elif isinstance(value, list):
            todo += [(name if name.endswith("[]") else f"{name}[]", each) for each in value]
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            yield name, value  # type: ignore[misc]


def _about(raw: dict[str, Any], error: Exception) -> str:
    kind = raw.get("model_type")
    if not isinstance(kind, str):
        return "its config.json names no model_type"
    if "auto_map" in raw and "custom code" in str(error):
        return f"models of type {kind[:40]} need code of their own, which is never run"
    return one_line(error)


def _remedy(raw: dict[str, Any]) -> str:
    if "auto_map" in raw:
        return "name a checkpoint that transformers knows"
    return "use the config.json that was saved with the weights, or name another checkpoint"
