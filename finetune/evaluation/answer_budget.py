"""Answer budgets: how many tokens are decoded for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetune.data.prompts import Prompt
from finetune.data.tokenization import answer_ids, gap, special_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST_ANSWER = 64  # tokens; of a longer one this much is decoded, and what models put in front
LEAD_TOKENS = 16  # what models put in front of an answer


def answer_budget(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> int:
    """Count the tokens that the longest canonical answer and its end take, up to a bound."""
    specials = special_texts(tokenizer)
    answers = sorted({gap(p.text, specials) + p.answers[0] for p in prompts})
    alone = tokenizer(answers, add_special_tokens=False)["input_ids"]
    # Behind its prompt an answer may be more tokens than alone, where SentencePiece puts a space in front.
    # Tokenizers part at spaces: one prompt with the same last word and answer is enough.
    some = list({(p.answers[0], p.text.rpartition(" ")[2], p.rendered): p for p in prompts}.values())
    behind = [said for _, said in answer_ids(tokenizer, some, [p.answers[0] for p in some])]
    return min(LONGEST_ANSWER, max(map(len, [*alone, *behind])) + 1)
