"""Attempts before reinforcement learning: as training would ask, with the thought opened, and without a thought.

The last two answer whether thinking pays: the model's answer is begun for it, by `<think>` or by `<answer>`, so
both are measured on the same questions however rarely it would choose one of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from deepseek_lab.objectives.pass_at_k import pass_at_k
from deepseek_lab.report.proportions import bootstrap
from deepseek_lab.rollout.group import Group, sums_of
from deepseek_lab.tasks.answers import OPEN as OPEN_ANSWER
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.reasoning import CLOSE
from deepseek_lab.text.reasoning import OPEN as OPEN_THOUGHT


class BegunAnswer(QuestionPrompt):
    """A prompt with the first tag of the answer behind it; a thought that the chat template opened is closed before."""

    def __init__(self, config: QuestionPrompt.Config, tag: str) -> None:
        super().__init__(config)
        self.tag = tag

    def opening(self, chat: Chat) -> str:
        """The tags that stand in the prompt."""
        opened = super().opening(chat)
        return f"{opened}{CLOSE}{self.tag}" if opened else self.tag

    def encode(self, chat: Chat, question: str) -> list[int]:
        """The prompt's ids and the tags'."""
        ids = super().encode(chat, question)
        if super().opening(chat):
            ids += chat.encode_tag(CLOSE)
        return [*ids, *chat.encode_plain(self.tag)]


def thinking(config: QuestionPrompt.Config, chat: Chat) -> QuestionPrompt:
    """The prompt with the thought opened; a conversation opens it by its template, where that knows how."""
    asked = config.build()
    if config.chat and not asked.opening(chat):
        asked = replace(config, thinking=True).build()
    return asked if asked.opening(chat) else BegunAnswer(config, OPEN_THOUGHT)


def direct(config: QuestionPrompt.Config) -> QuestionPrompt:
    """The prompt with the answer opened in the thought's place."""
    opened = not config.chat and config.prompt.rstrip().endswith(OPEN_THOUGHT)
    prompt = config.prompt.rstrip().removesuffix(OPEN_THOUGHT) if opened else config.prompt
    return BegunAnswer(replace(config, prompt=prompt, thinking=False), OPEN_ANSWER)


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """Figures of one way to ask, each a mean over the questions or over all answers.

    pass_1, pass_k: with the interval over questions; no_spread: groups all of whose answers are worth the same
    unread: answers in which the task found none; cut_off: answers that ran out of tokens; length: in tokens
    """

    k: int
    pass_1: float
    pass_1_interval: tuple[float, float]
    pass_k: float
    pass_k_interval: tuple[float, float]
    no_spread: float
    unread: float
    cut_off: float
    thinks: float
    length: float


def attempted(groups: Sequence[Group], votes: Collection[str | None]) -> Attempted:
    """`votes`: what the task read out of each answer."""
    k = len(groups[0].said)
    first, several = ([pass_at_k(k, group.n_right, n) for group in groups] for n in (1, k))
    sums = {name: total / count for name, (total, count) in sums_of(groups).items() if count}
    return Attempted(
        k=k,
        pass_1=fmean(first),
        pass_1_interval=bootstrap(first),
        pass_k=fmean(several),
        pass_k_interval=bootstrap(several),
        no_spread=sums["frac_reward_zero_std"],
        unread=fmean(vote is None for vote in votes),
        cut_off=sums["completions/clipped_ratio"],
        thinks=sums["completions/think_ratio"],
        length=sums["completions/mean_length"],
    )
