"""`generate`: prompts in, whole texts out, in one call; the engine behind it takes everything else that is asked.

Shapes: B rows, T tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.engine import Engine
from deepseek_lab.generation.request import Request, Sampling
from deepseek_lab.model.transformer import Transformer


def generate(
    model: Transformer,
    input_ids: Tensor | Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    eos_id: int | None = None,
    valid_BT: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Continues prompts -> token ids (B, T + new), prompt included; ragged prompts come back left-padded with 0.

    input_ids: (B, T) tensor, with `valid_BT` (B, T) bool where it is padded; or a list of lists.
    A row that has ended repeats `eos_id` until the others have. Row b draws its noise from `seed` + b.
    Raises ValueError when a prompt is empty, an id is out of range, the model's `max_seq_len` is too short or its
    logits are no numbers. The model is left in the mode (training or evaluation) it was in.
    """
    prompts = _rows(input_ids, valid_BT)
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
    )
    stop_ids = frozenset() if eos_id is None else frozenset({eos_id})
    requests = [
        Request(prompt=prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop_ids=stop_ids, seed=seed + row)
        for row, prompt in enumerate(prompts)
    ]
    answers = [completions[0] for completions in Engine(model, max_rows=max(1, len(requests))).run(requests)]
    for answer in answers:
        if answer.error is not None:
            raise ValueError(answer.error)
    width, new = max(map(len, prompts)), max(len(answer.ids) for answer in answers)
    texts = [
        [*[0] * (width - len(prompt)), *prompt, *answer.ids, *[eos_id or 0] * (new - len(answer.ids))]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return torch.tensor(texts, device=model.head_weight_VD.device)


def _rows(input_ids: Tensor | Sequence[Sequence[int]], valid_BT: Tensor | None) -> list[list[int]]:
    """The prompts without padding. Raises ValueError where there is none."""
    rows = input_ids.tolist() if isinstance(input_ids, Tensor) else [list(prompt) for prompt in input_ids]
    if valid_BT is not None:
        rows = [
            [token for token, real in zip(row, marks, strict=True) if real]
            for row, marks in zip(rows, valid_BT.tolist(), strict=True)
        ]
    if not rows:
        raise ValueError("a prompt of at least one token is needed")
    return rows
