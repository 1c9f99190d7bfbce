"""From groups of text and tokens to the tensors of an `Experience`."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from deepseek_lab.generation import Completion
from deepseek_lab.rollout.experience import Experience, Sums
from deepseek_lab.rollout.group import Group
from deepseek_lab.tasks.task import Reward
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt


def assembled(groups: Sequence[Group], longest: int, sums: Sums, prompt: QuestionPrompt, chat: Chat) -> Experience:
    """The record of some groups of equal size; `longest` is the length limit of their answers."""
    rows = [(group.prompt, completion) for group in groups for completion in group.completions]
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    tokens_BT1, mask_BT, logp_BT = _tokens(rows)
    ends = [_step_ends(verdict, row, prompt, chat) for verdict, row in zip(verdicts, rows, strict=True)]
    forms = list(chain.from_iterable(group.forms for group in groups))
    return Experience(
        tokens_BT1=tokens_BT1,
        mask_BT=mask_BT,
        logp_sampler_BT=logp_BT,
        answer_B=_numbers(chain.from_iterable(group.answers for group in groups)),
        format_B=None if None in forms else _numbers(forms),
        parts={name: _numbers(v.parts.get(name) for v in verdicts) for name in _names(verdicts)},
        step_reward_BS=_padded([[value for _, value in verdict.steps] for verdict in verdicts], math.nan),
        step_end_BS=_padded(ends, 0).long(),
        truncated_B=torch.tensor([completion.finish_reason == "length" for _, completion in rows]),
        routing_BTLK=_routing([completion for _, completion in rows], mask_BT.shape[1]),
        group_size=len(groups[0].completions),
        longest=longest,
        sums=sums,
    )


def _tokens(rows: Sequence[tuple[Sequence[int], Completion]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and the sampler's log-probabilities, filled up on the right."""
    width = max(len(prompt) + len(completion.ids) for prompt, completion in rows)
    tokens_BT1 = torch.zeros(len(rows), width, dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), width - 1, dtype=torch.bool)
    logp_BT = torch.zeros(len(rows), width - 1)
    for row, (prompt, completion) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(completion.ids)
        tokens_BT1[row, :end] = torch.tensor([*prompt, *completion.ids])
        mask_BT[row, start - 1 : end - 1] = True
        logp_BT[row, start - 1 : end - 1] = torch.tensor(completion.logprobs)
    return tokens_BT1, mask_BT, logp_BT


def _routing(completions: Sequence[Completion], width: int) -> Tensor | None:
    """Experts of each position; what fills a row up went to the first ones."""
    noted = [completion.routing for completion in completions if completion.routing is not None]
    if len(noted) < len(completions):
        return None
    filled = torch.arange(noted[0].shape[2], dtype=noted[0].dtype).expand(len(noted), width, *noted[0].shape[1:])
    routing_BTLK = filled.clone()
    for row, routing_TLK in enumerate(noted):
        routing_BTLK[row, : len(routing_TLK)] = routing_TLK
    return routing_BTLK


def _step_ends(verdict: Reward, row: tuple[Sequence[int], Completion], prompt: QuestionPrompt, chat: Chat) -> list[int]:
    """The positions that predict the tokens which end the steps of one answer."""
    question, completion = row
    before = len(question) - 1
    return [before + prompt.token_at(chat, completion.ids, character) for character, _ in verdict.steps]


def _names(verdicts: Sequence[Reward]) -> list[str]:
    return list(dict.fromkeys(name for verdict in verdicts for name in verdict.parts))


def _numbers(values: Iterable[float | None]) -> Tensor:
    """fp64; what is missing is NaN."""
    return torch.tensor([math.nan if value is None else float(value) for value in values], dtype=torch.float64)


def _padded(rows: Sequence[Sequence[float]], fill: float) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.float64).view(len(rows), -1)
