"""Prompts as a chat: the user's turn in the tokenizer's own template, up to where the assistant answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.data.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\ue000question\ue000"  # private use: it occurs in no prompt


def chat_prompt(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    *,
    system: str | None = None,
    solved: Sequence[Prompt] = (),
) -> Prompt:
    """Render a prompt as a chat's user turn, up to where the assistant answers, and move its subject along.

    ``solved`` prompts come first, each a turn of the user's and one of the assistant's. The place of the
    user's words is found by rendering a mark in their stead, so that other turns that name the subject too do
    not mislead; where a template repeats the words, the last place counts.

    Args:
        tokenizer: the one whose chat template is used.
        prompt: what the user says.
        system: a system message in front.
        solved: prompts that come first, each a turn of the user's and one of the assistant's.

    Raises:
        InputError: the tokenizer has no chat template, or one that rewrites or refuses these messages.
    """
    before = [{"role": "system", "content": system}] if system else []
    for example in solved:
        before.append({"role": "user", "content": example.text})
        before.append({"role": "assistant", "content": example.answers[0]})
    marked, text = (_rendered(tokenizer, before, content) for content in (_MARK, prompt.text))
    after = len(marked) - marked.rfind(_MARK) - len(_MARK)
    for content in (prompt.text, prompt.text.strip()):  # some templates trim
        start = len(text) - after - len(content)
        if _MARK in marked and start >= 0 and text.startswith(content, start):
            shift = start - prompt.text.index(content)
            first, last = prompt.subject
            return replace(prompt, text=text, subject=(first + shift, last + shift), rendered=True)
    raise InputError(
        f"prompt {prompt.fact_id or prompt.text[:40]!r}: the chat template of tokenizer "
        f"{tokenizer.name_or_path} rewrites {prompt.text!r}; ask without --chat (chat=False), or use a "
        "checkpoint whose template keeps a user's words"
    )


def require_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without a chat template.

    Raises:
        InputError: names the tokenizer and the remedy.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}: has no chat template; use the "
            "plain prompt instead (chat=False), or a checkpoint whose tokenizer has one"
        )


def _rendered(tokenizer: PreTrainedTokenizerBase, before: Sequence[dict[str, str]], content: str) -> str:
    require_chat_template(tokenizer)
    turns = [*before, {"role": "user", "content": content}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # templates raise what they like
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: its chat template refuses these turns ({one_line(error)}); "
            "leave the system prompt or the solved examples out, or use the plain prompt (chat=False)"
        ) from error
