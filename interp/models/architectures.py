"""What TransformerLens can take apart, and booting it without what a text measurement does not need.

Both are judged by the class that is loaded, never by what a ``config.json`` says of itself: some of
TransformerLens' adapters import code from the checkpoint that asks for them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config, source
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from finetune.common.errors import InputError
from finetune.common.messages import one_line

# Settings with which an adapter misreads the weights of its architecture: it fails as soon as it is booted.
MISREAD = {"FalconForCausalLM": "new_decoder_architecture"}
ANOTHER = "name a checkpoint of an architecture in docs/architectures.md"


def require_decoder(config: PreTrainedConfig, name: str) -> None:
    """Refuse what is no decoder with a language-model head.

    Raises:
        InputError: an encoder, an encoder-decoder, or a model without a head.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"{name}: is an encoder-decoder, and only decoders can be measured; name a decoder")
    stated = config.architectures or []
    if _causal_classes().intersection(stated):
        return
    # A name that transformers does not know is a wrapper's, as of FSDP or torch.compile: the type tells.
    known = [one for one in stated if hasattr(transformers, one)]
    if known:
        raise InputError(f"{name}: {known[0]} is no causal language model; name a decoder with its head")
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"{name}: models of type {config.model_type} are no causal language models; name a decoder"
        )


def architecture_of(config: PreTrainedConfig) -> str:
    """Return the class that a configuration is loaded as."""
    found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) or config.architectures or "unknown"
    classes = (found,) if isinstance(found, str) else tuple(found)
    return next((one for one in classes if one in (config.architectures or ())), classes[0])


def class_of(model: PreTrainedModel, name: str) -> str:
    """Return the causal class that a model in memory is of; wrappers such as FSDP's derive classes from it.

    Raises:
        InputError: it is of none, so it has no language-model head.
    """
    classes = [one.__name__ for one in type(model).__mro__]
    causal = _causal_classes()
    if found := next((one for one in classes if one in causal), None):
        return found
    raise InputError(f"{name}: {classes[0]} is no causal language model; give a decoder with its head")


def require_supported(config: PreTrainedConfig, architecture: str, name: str) -> None:
    """Refuse an architecture that TransformerLens has no adapter for.

    Raises:
        InputError: names the checkpoint and its architecture.
    """
    setting = MISREAD.get(architecture)
    if setting is not None and getattr(config, setting, False):
        raise InputError(
            f"{name}: TransformerLens' adapter for {architecture} cannot read one with {setting}; {ANOTHER}"
        )
    try:
        determine_architecture_from_hf_config(_loaded_as(copy.deepcopy(config), architecture))
    except ValueError as error:
        raise InputError(f"{name}: TransformerLens has no adapter for {architecture}; {ANOTHER}") from error


def boot_bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> TransformerBridge:
    """Boot a bridge on a loaded model, which is rewired in place, with a tokenizer that may be changed.

    Raises:
        InputError: TransformerLens has no adapter for the model, or one that fails on it.
    """
    architecture = class_of(model, name)
    require_supported(model.config, architecture, name)
    _loaded_as(model.config, architecture)
    try:
        with _without_processor():
            return TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # an adapter raises whatever the weights that it rearranges lead to
        raise InputError(
            f"{name}: TransformerLens' adapter for {architecture} fails on it ({one_line(error)}); {ANOTHER}"
        ) from error


@contextmanager
def _without_processor() -> Iterator[None]:
    """Keep TransformerLens from looking for a processor of images or sound.

    Text needs none. Where a multimodal model's cannot be loaded, TransformerLens would ask the hub, and then
    install torchvision with pip into the user's environment, which may break the torch that is running.
    """
    load = source.load_modality_processor
    source.load_modality_processor = lambda *_, **__: None
    try:
        yield
    finally:
        source.load_modality_processor = load


def _causal_classes() -> set[str]:
    causal: set[str] = set()
    for entry in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        causal.update([entry] if isinstance(entry, str) else entry)
    return causal


def _loaded_as(config: Any, architecture: str) -> Any:
    """Have a configuration name the class that is loaded, and no other."""
    config.architectures = [architecture]
    config.__dict__.pop("original_architecture", None)
    return config
