"""From a policy and the number of an iteration to its experience.

Every iteration asks its own questions, draws a group of answers to each and has them judged. Where the objective wants
groups with spread (DAPO's dynamic sampling), others are drawn until there are enough, a number of times at most; then
training goes on with fewer, and says so.

State between iterations is the curriculum, and how many verdicts came too late; both stand in the checkpoint.

Left out: log-probabilities of policy and reference (the stage has the networks), and keeping rollouts on disk: a killed
one is drawn again.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.checkpoint.first_rank import are_unread
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.rollout.assembling import assembled
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.rollout.curriculum import Curriculum
from deepseek_lab.rollout.drawing import Clock, Drawing
from deepseek_lab.rollout.experience import Experience
from deepseek_lab.rollout.group import Group, sums_of
from deepseek_lab.rollout.reward_model import PART, RewardModel
from deepseek_lab.rollout.rewarding import Judge, OnlyFor, Rewarding

KeptGroups = Callable[[Tensor, int], Tensor]
"""(B,) rewards of answers and the group size -> (N,) which groups need not be drawn again."""


class RolloutEngine:
    """Draws the experience of one rank."""

    def __init__(
        self,
        config: RolloutConfig,
        data: PromptData,
        seed: int,
        kept_groups: KeptGroups | None = None,
        max_refills: int = 0,
        judges: Sequence[Judge] = (),
    ) -> None:
        """kept_groups: None keeps all; judges: beside the task.

        Raises ConfigError for what cannot be drawn or judged.
        """
        self.config, self.data = config, data
        self.rewarding = Rewarding([data.task, *judges], config.weights, config.reward_seconds, config.family_rewards)
        self.drawing = Drawing(config, data, self.rewarding, seed)
        self.kept_groups, self.max_refills = kept_groups, max_refills
        self.curriculum = Curriculum(data.examples, seed) if config.curriculum == "pass_rate" else None
        self.timeouts = 0
        """Verdicts of all ranks that came too late, or that a clock decided."""
        self.transcript: list[Group] = []
        """The groups of the last experience, in its order."""
        self.reward_model = (
            None
            if config.reward_model is None
            else RewardModel.of_run(config.reward_model, data.tokenizer, config.reward_model_reads == "answer")
        )
        if self.reward_model is not None:
            asked = OnlyFor(self.reward_model, lambda example: config.judged_by(PART, example.family))
            self.rewarding.judges.append(asked)
        self._require_fit()

    def to(self, device: torch.device) -> None:
        """Moves the reward model."""
        if self.reward_model is not None:
            self.reward_model.model.to(device)

    def _require_fit(self) -> None:
        if not are_unread():  # a judge is asked, and one without numbers has no answer: rank 0 speaks for all
            self.rewarding.require_parts(self.data.held_out)
        self.drawing.require_room([*self.data.examples, *self.data.held_out], self.data.config.seq_len)

    @property
    def clock(self) -> Clock:
        """Seconds so far."""
        return self.drawing.clock

    def collect(
        self, policy: Transformer, iteration: int, rank: int = 0, world_size: int = 1, over_ranks: Any = None
    ) -> Experience:
        """This rank's experience of an iteration (from 0). Raises RolloutError."""
        share = self.data.config.batch_size // world_size
        drawn = self._round(policy, iteration, 0, rank, world_size)
        kept, rounds = self._kept(drawn), 0
        while len(kept) < share and rounds < self.max_refills:
            rounds += 1
            more = self._round(policy, iteration, rounds, rank, world_size)
            drawn, kept = [*drawn, *more], [*kept, *self._kept(more)]
        if len(kept) < share:
            _warn(iteration, len(kept), share, rounds)
        if self.curriculum is not None:
            self.curriculum.learn([(group.example, group.n_right, len(group.said)) for group in drawn], over_ranks)
        self.transcript = (kept or drawn)[:share]
        return self._experience(drawn, len(drawn) - len(kept), rounds)

    def _experience(self, drawn: list[Group], n_dropped: int, rounds: int) -> Experience:
        lengths = [length for group in drawn for length in group.lengths]
        sums = {
            **sums_of(drawn),
            "sampling/groups_dropped": (float(n_dropped), float(len(drawn))),
            "sampling/refills": (float(rounds), 1.0),
            "completions/max_length": (float(max(lengths)), 1.0),
        }
        limit, data = self.config.max_new_tokens, self.data
        return assembled(self.transcript, limit, sums, data.prompt, data.chat)

    def _round(self, policy: Transformer, iteration: int, again: int, rank: int, world_size: int) -> list[Group]:
        share = self.data.config.batch_size // world_size
        if self.curriculum is not None:
            places = self.curriculum.chosen(iteration, again, share, rank)
        elif again:
            places = self.data.asked_instead(iteration, again, rank, world_size)
        else:
            places = self.data.asked(iteration, rank, world_size)
        purpose = f"iteration {iteration + 1}" + (f" drawn again {again}" if again else "")
        return self.drawing.groups(policy, self.data.examples, places, self.config.group_size, purpose)

    def _kept(self, groups: list[Group]) -> list[Group]:
        if self.kept_groups is None:
            return groups
        answer_B = torch.tensor([answer for group in groups for answer in group.answers], dtype=torch.float64)
        keep_N = self.kept_groups(answer_B, self.config.group_size).tolist()
        return [group for group, keep in zip(groups, keep_N, strict=True) if keep]

    def evaluate(self, policy: Transformer, n: int, rank: int = 0, world_size: int = 1) -> list[Group]:
        """`n` attempts at each of this rank's held-out questions, with the same noise at every call."""
        places = torch.arange(len(self.data.held_out))[rank::world_size].numpy()
        return self.drawing.groups(policy, self.data.held_out, places, n, "validation")

    def gather_timeouts(self, over_ranks: Callable[[Tensor], Tensor], device: torch.device) -> int:
        """Adds what this and the other ranks have noted since; all of them."""
        self.timeouts += int(over_ranks(torch.tensor(self.rewarding.timeouts, device=device)))
        self.rewarding.timeouts = 0
        return self.timeouts

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        learnt = None if self.curriculum is None else self.curriculum.state_dict()
        return {"curriculum": learnt, "timeouts": self.timeouts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.timeouts = int(state["timeouts"])
        if self.curriculum is not None and state["curriculum"] is not None:
            self.curriculum.load_state_dict(state["curriculum"])


def _warn(iteration: int, found: int, wanted: int, rounds: int) -> None:
    """A named warning: the cap on drawing again was met."""
    said = f"{found} of {wanted} groups have spread after {rounds} rounds of drawing again (loss.max_refills)"
    print(f"warning: iteration {iteration + 1}: {said}; training goes on with those", file=sys.stderr, flush=True)
