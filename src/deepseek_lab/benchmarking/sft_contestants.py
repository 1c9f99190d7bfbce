"""The two sides of the fine-tuning benchmark: the same examples, our stage on packed rows and TRL's trainer on its own.

`masked`: a prompt and its completion, of which the completion is learnt; ours packs whole examples into rows, theirs
fills a batch up to its longest. `packed`: all is learnt and nothing filled up, examples cut wherever a row ends, as
TRL's `wrapped` does it; both get the rows that TRL has made.
"""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.benchmarking.small_networks import (
    TRL_ARGUMENTS,
    Shape,
    no_balance,
    our_network,
    their_network,
    their_tokenizer,
)
from deepseek_lab.data.conversation_packing import PADDING, AnsweredBatch, AnsweredSplit, PackedConversations
from deepseek_lab.optim.adamw import AdamW
from deepseek_lab.optim.schedule import Constant
from deepseek_lab.stages.sft_config import SftConfig
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY

Kind = Literal["packed", "masked"]
EXAMPLES, LONGEST, MICRO_ROWS, LR = 16, 512, 4, 1e-5
PROMPT, COMPLETION = (20, 120), (40, 300)
"""Bytes, from and up to which lengths are drawn alike."""


def examples() -> list[tuple[list[int], list[int]]]:
    """Prompts and completions of letters, of unequal lengths."""
    draw = np.random.default_rng(0)
    sizes = [(int(draw.integers(*PROMPT)), int(draw.integers(*COMPLETION))) for _ in range(EXAMPLES)]
    return [(draw.integers(97, 123, n).tolist(), draw.integers(97, 123, m).tolist()) for n, m in sizes]


def their_trainer(shape: Shape, kind: Kind, steps: int, folder: str, callbacks: Sequence[Any] = ()) -> Any:
    """TRL's trainer; a step is all examples."""
    from datasets import Dataset

    trl: Any = importlib.import_module("trl")  # its package exports lazily, which hides the names from a checker
    arguments = trl.SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=EXAMPLES,
        max_length=LONGEST,
        packing=kind == "packed",
        packing_strategy="wrapped",
        completion_only_loss=kind == "masked",
        max_steps=steps,
        learning_rate=LR,
        **TRL_ARGUMENTS,
    )
    rows: list[dict[str, list[int]]] = [{"input_ids": prompt + completion} for prompt, completion in examples()]
    if kind == "masked":
        for row, (prompt, completion) in zip(rows, examples(), strict=True):
            row["completion_mask"] = [0] * len(prompt) + [1] * len(completion)
    return trl.SFTTrainer(
        model=their_network(shape, LONGEST),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=their_tokenizer(),
        callbacks=list(callbacks),
    )


class EveryStepAlike:
    """The same rows at each step, in micro-batches."""

    def __init__(self, rows: AnsweredBatch) -> None:
        self._rows = rows
        self.manifest = {"hash": "sft benchmark"}
        self.token_bytes_V = np.ones(SMALLEST_VOCABULARY, dtype=np.int64)

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Sequence[AnsweredBatch]:
        """All of them."""
        return self._rows.cut(MICRO_ROWS)

    def validation_batches(self, limit: int | None, rank: int = 0, world_size: int = 1) -> Iterator[AnsweredBatch]:
        """None."""
        return iter(())

    @property
    def n_supervised(self) -> int:
        """Tokens that are learnt in a step."""
        rows = self._rows
        same = rows.document_BT1[:, 1:] == rows.document_BT1[:, :-1]
        return int((rows.answer_BT1[:, 1:] & same).sum())


def our_data(kind: Kind, theirs: Any) -> EveryStepAlike:
    """The rows of `packed` are theirs."""
    if kind == "packed":
        return EveryStepAlike(_whole_rows(theirs.train_dataset["input_ids"]))
    asked_and_said = examples()
    lengths = [len(prompt) + len(completion) for prompt, completion in asked_and_said]
    split = AnsweredSplit(
        ids=np.concatenate([prompt + completion for prompt, completion in asked_and_said]),
        answer=np.concatenate([[False] * len(prompt) + [True] * len(said) for prompt, said in asked_and_said]),
        offsets=np.cumsum([0, *lengths]),
    )
    packed = PackedConversations(split, LONGEST - 1, pad_id=0)
    return EveryStepAlike(packed.gather(np.arange(packed.n_rows)))


def _whole_rows(rows: Sequence[Sequence[int]]) -> AnsweredBatch:
    """Rows of which every token is learnt; the last may be shorter."""
    shape = (len(rows), max(map(len, rows)))
    tokens_BT1, document_BT1 = torch.zeros(shape, dtype=torch.int64), torch.full(shape, PADDING)
    for number, row in enumerate(rows):
        tokens_BT1[number, : len(row)], document_BT1[number, : len(row)] = torch.tensor(row), number
    return AnsweredBatch(tokens_BT1, document_BT1, document_BT1 != PADDING)


def our_stage(shape: Shape, data: EveryStepAlike, theirs: Any) -> Any:
    """Our whole stage, starting from their weights."""
    model = our_network(shape, LONGEST)
    copy_weights(theirs, model)
    return SftConfig().build(
        model,
        data,
        no_balance(),
        isolate_documents=True,
        optimizer=AdamW.Config(lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0, max_grad_norm=1.0, fused=True),
        schedule=Constant.Config(warmup_steps=0),
        seed=0,
        precision=None,
    )
