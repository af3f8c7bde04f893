"""Loading checkpoints as data: files and keys inspected, models filled, adapters put on, tokenizers."""
