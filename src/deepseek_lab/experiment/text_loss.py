"""`scripts/evaluate.py what=text`: perplexity and bits per byte of any text, whatever the run was trained on.

Each document stands behind the token that the model expects before a text (a published model's token of beginning;
an end-of-text token as in packed training where there is none), and is read in windows of `context`
tokens that do not overlap; the first token of a window is predicted from the last of the one before alone, so a
longer context reads better. The end of a document is predicted too, and stands for no byte. Bits per byte
compare models of different tokenizers; perplexity per token does not.

Shapes: B windows, T positions, N = B·T, D width, V vocabulary.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.config import CheckedConfig, ConfigError, DataError
from deepseek_lab.data.text_files import TextFiles, Unit
from deepseek_lab.experiment.finished import FinishedRun
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.text.tokenizer import Tokenizer

_TOKENS_AT_ONCE = 8192
_NO_TARGET = -1


@dataclass(frozen=True, kw_only=True)
class TextTest(CheckedConfig):
    """path: a file or folder, as `data=text_files` reads it; context: tokens, null for the model's longest."""

    path: str | None
    column: str
    unit: Unit
    context: int | None
    documents: int | None

    def check(self) -> None:
        self.require_positive("documents")
        if self.context is not None and self.context < 2:
            raise ConfigError(f"must be at least 2, not {self.context}", "context")


def windows(ids: list[int], before: int, eos: int, context: int) -> Iterator[list[int]]:
    """A document's tokens in windows of at most `context` targets, each with the token before them in front."""
    row = [before, *ids, eos]
    for start in range(0, len(row) - 1, context):
        yield row[start : start + context + 1]


@torch.no_grad()
def text_sums(model: Transformer, rows: Iterable[list[int]], token_bytes_V: Tensor) -> Tensor:
    """fp64 sums over windows: nats, targets, UTF-8 bytes."""
    filled = list(rows)
    width = max(map(len, filled))
    padded = torch.tensor([row + [_NO_TARGET] * (width - len(row)) for row in filled], device=token_bytes_V.device)
    targets_N = padded[:, 1:].flatten()
    valid_N = targets_N != _NO_TARGET
    hidden_ND = model(padded[:, :-1].clamp(min=0)).hidden_BTD.flatten(0, 1)
    targets_N = targets_N.clamp(min=0)
    _, nll_N = chunked_cross_entropy(hidden_ND, model.head_weight_VD, targets_N, valid_N.float())
    bytes_N = token_bytes_V[targets_N] * valid_N
    return torch.stack([(nll_N.double() * valid_N).sum(), valid_N.sum().double(), bytes_N.sum().double()])


def text_loss(model: Transformer, tokenizer: Tokenizer, texts: Iterable[str], context: int) -> dict[str, float]:
    """nats per token, perplexity, bits per byte, and how much was read. Raises DataError without text."""
    bytes_V = torch.as_tensor(tokenizer.token_bytes(), device=model.head_weight_VD.device)
    sums = torch.zeros(3, dtype=torch.float64, device=bytes_V.device)
    around = tokenizer.before_id, tokenizer.eos_id
    rows = (row for text in texts for row in windows(tokenizer.encode(text), *around, context))
    at_once = max(1, _TOKENS_AT_ONCE // context)
    while some := list(islice(rows, at_once)):
        sums += text_sums(model, some, bytes_V)
    nats, targets, n_bytes = sums.tolist()
    if not n_bytes:
        raise DataError("the text to measure holds no byte")
    return {
        "loss": nats / targets,
        "perplexity": math.exp(min(nats / targets, 700.0)),
        "bits_per_byte": nats / math.log(2) / n_bytes,
        "tokens": targets,
        "bytes": n_bytes,
        "context": context,
    }


def evaluate_text(run: FinishedRun | PublishedModel, test: TextTest, device: torch.device) -> dict[str, Any]:
    """The figures of the text of `test`. Raises ConfigError without a path or for a context that is too long."""
    if test.path is None:
        raise ConfigError("names the file or folder to measure", "text.path")
    model = run.model(device)
    longest = model.config.max_seq_len
    if test.context is not None and test.context > longest:
        raise ConfigError(f"goes beyond the model's max_seq_len = {longest}: {test.context}", "text.context")
    documents = TextFiles.Config(path=test.path, column=test.column, unit=test.unit).build().documents()
    texts = (document.text for document in islice(documents, test.documents))
    return {"text": test.path, **text_loss(model, run.tokenizer(), texts, test.context or longest)}
