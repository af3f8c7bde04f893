"""Reading checkpoints: which facts a fine-tuned model lost, and where its attention went."""
