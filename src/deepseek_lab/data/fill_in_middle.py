"""Fill-in-the-middle: some training documents are written prefix, suffix, middle (Bavarian et al. 2022 §3).

DeepSeek's form is PSM at the level of documents, before packing: DeepSeek-Coder at a rate of 0.5,
DeepSeek-V3 §4.1 at 0.1. A network trained so completes a hole in a text from both its sides, by reading

    <｜fim▁begin｜> prefix <｜fim▁hole｜> suffix <｜fim▁end｜>

and going on. The cuts fall between characters, uniformly, and which documents are cut is decided by the
document alone: those of a rate are also those of every higher rate.

Left out: the SPM order, cuts at words or lines.
"""

from typing import NamedTuple

from deepseek_lab.data.corpus import Document
from deepseek_lab.data.draws import draws_of
from deepseek_lab.text.tokenizer import FIM_BEGIN, FIM_END, FIM_HOLE, Tokenizer


class Parts(NamedTuple):
    """A text in the order in which it is read; `prefix + middle + suffix` is the document."""

    prefix: str
    suffix: str
    middle: str


def cut(document: Document, rate: float) -> Parts | None:
    """The three parts, or None for a document that stays as it is."""
    if rate == 0:
        return None
    draws = draws_of(document, "fill in the middle")
    if draws.random() >= rate:
        return None
    text = document.text
    start, stop = sorted(draws.integers(0, len(text), 2, endpoint=True).tolist())
    return Parts(text[:start], text[stop:], text[start:stop])


def join(tokenizer: Tokenizer, prefix: list[int], suffix: list[int], middle: list[int]) -> list[int]:
    """The encoded parts with the tokens that mark them."""
    begin, hole, end = (tokenizer.special_ids[name] for name in (FIM_BEGIN, FIM_HOLE, FIM_END))
    return [begin, *prefix, hole, *suffix, end, *middle]
