"""Text to token ids and back. Knows nothing of models, corpora or files of tokens."""
