"""Corpora, their token files and the batches cut from them."""
