"""A base and its fine-tuned side as hooked models: loading a pair, switching LoRA, parity, identity."""
