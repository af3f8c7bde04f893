"""Facts and how they are asked: fact sets, splits, prompts, wordings, tokenisation, invented worlds."""
