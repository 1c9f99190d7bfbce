"""Checkpoints on disk: our own format with its config, random state, atomic files; Hugging Face folders; GGUF files."""
