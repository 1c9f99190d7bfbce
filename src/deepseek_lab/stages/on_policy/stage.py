"""Learning from what the policy samples itself: one Lightning step is one iteration, from rollout to the last update.

    sample and score answers → π_old, π_ref, advantages → μ epochs of minibatches → bias rule, curves

Lightning counts every optimiser's step and offers a checkpoint after each of its own batches. So an iteration is one
batch, only its last update goes through Lightning's optimiser, and a run stops at whole iterations only: a rollout
that was interrupted is sampled again from (seed, iteration), never stored. π_old costs a pass of its own only where an
epoch has several updates; with one, the first epoch's log-probabilities, detached, are it.

Left out: what is learnt (`columns`, `objective`: grpo, ppo), sharded models (ranks would generate in step).
Shapes: B answers, T positions, D width.
"""

import copy
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepseek_lab.model.output import ModelOutput
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance
from deepseek_lab.precision.applying import apply
from deepseek_lab.rollout.engine import RolloutEngine
from deepseek_lab.rollout.experience import Experience
from deepseek_lab.rollout.reward_model import PART
from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.stages.expert_loads import ExpertLoads, move_biases
from deepseek_lab.stages.loop.batches import EmptyBatches, StepBatch
from deepseek_lab.stages.loop.clipping import clip_gradients
from deepseek_lab.stages.loop.nan_search import first_non_finite
from deepseek_lab.stages.loop.stage import Stage
from deepseek_lab.stages.on_policy.answers import OLD, REFERENCE, ROUTING, WEIGHT, Answers, placed
from deepseek_lab.stages.on_policy.curves import AnswerLedger, IterationCurves, ZeroLoss, compare_with_sampler
from deepseek_lab.stages.on_policy.logprobs import answer_logprobs, mtp_losses, whole_logprobs
from deepseek_lab.stages.on_policy.task_validation import TaskAttempts
from deepseek_lab.stages.on_policy_config import OnPolicyConfig


class Reference(nn.Module):
    """The policy of a KL term: a frozen copy (`model`) of where the stage started, renewed where asked for.

    It is part of the checkpoint: a resumed run has the reference of the run it resumes, not the policy it has become.
    """

    model: Transformer

    def __init__(self, policy: Transformer) -> None:
        super().__init__()
        self.model = copy.deepcopy(policy).requires_grad_(False)

    def refresh(self, policy: Transformer, iteration: int, every: int | None) -> None:
        """Before iteration `every`, 2·`every` … (from 0) the policy as it is becomes the reference (Alg. 1)."""
        if every and iteration and iteration % every == 0:
            self.model.load_state_dict(policy.state_dict())


def update_rows(
    n_groups: int, group_size: int, minibatches: int, epochs: int, key: Sequence[int], device: torch.device
) -> list[Tensor]:
    """The rows of each update, `epochs` times over all; fewer groups than `minibatches` make fewer updates.

    Whole groups, in an order that depends on (key, epoch) alone. With one update an epoch the order is that of the
    experience: what the first epoch computes of π_old then serves the others pass by pass.
    """
    parts, updates = min(minibatches, n_groups), []
    for epoch in range(epochs):
        order_N = np.arange(n_groups)
        if parts > 1:
            order_N = np.random.default_rng([*key, epoch]).permutation(n_groups)
        for group_N in np.array_split(order_N, parts):
            row_N = (group_N[:, None] * group_size + np.arange(group_size)).reshape(-1)
            updates.append(torch.from_numpy(row_N).to(device))
    return updates


class OnPolicyStage(Stage):
    """Subclasses give `columns` and `objective`."""

    model: Transformer

    def __init__(
        self, config: OnPolicyConfig, model: Transformer, rollout: RolloutEngine, balance: Balance, **loop: Any
    ) -> None:
        """`loop`: what `Stage` takes but its data."""
        data: Any = rollout.data
        super().__init__(model, data, **loop)
        self.config, self.rollout, self.balance, self.policy_loss = config, rollout, balance, config.loss.build()
        self.validation = TaskAttempts(self, config.validation_samples)
        self.tokens_drawn = 0
        self.reference = Reference(model) if self.needs_reference else None
        self.expert_load: list[tuple[int, Tensor]] = []
        self.curves = IterationCurves()
        self.ledger: AnswerLedger | None = None
        """What became of each answer of an iteration that is to be shown."""
        self._zero_loss = ZeroLoss()
        self._loads = ExpertLoads()
        self._first_passes: list[tuple[Answers, Tensor]] = []
        self._open = StepBatch([])

    # What a stage defines

    @property
    def needs_reference(self) -> bool:
        """Whether the objective looks at a reference policy: only then one is kept."""
        return self.policy_loss.kl_weight > 0

    @abstractmethod
    def columns(self, experience: Experience, answers: Answers) -> dict[str, Tensor]:
        """(B, T) numbers a token that `objective` reads, advantages among them."""

    @abstractmethod
    def objective(
        self, micro: Answers, logp_BT: Tensor, old_BT: Tensor, totals: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A pass' share of the update's loss and curves, given log π_θ with gradient and log π_old."""

    def passes(self, answers: Answers) -> list[Answers]:
        """The forward passes that answers are cut into."""
        return answers.cut(self.config.micro_tokens)

    @property
    def modules_rest(self) -> bool:
        """MTP modules whose λ is 0."""
        return self.config.mtp_weight == 0 and len(self.model.mtp) > 0

    def counts(self, micro: Answers) -> Tensor:
        """The tokens that train, then answers."""
        return torch.stack([micro.mask_BT.sum(), micro.mask_BT.new_full((), len(micro.mask_BT), dtype=torch.int64)])

    # The iteration

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One iteration."""
        optimizer: Any = self.optimizers()
        rate = self._set_learning_rate(optimizer)
        # Rollout: sample groups of answers to each question and score them, under the policy as it is now.
        experience = self._collected()
        started = time.monotonic()
        # What stays the same during the updates: log π_old, log π_ref, advantages.
        answers = self._prepared(experience)
        self.ledger = AnswerLedger(len(answers.index_B), self.policy_loss, self.device) if self._show_due else None
        updates = self._updates_of(experience)
        for number, place_N in enumerate(updates, start=1):
            # Lightning counts the steps of its own optimiser: one an iteration.
            self._update(optimizer, answers.rows(place_N), counted=number == len(updates))
            if OLD not in answers.columns:
                # The first epoch ran under the policy that sampled: its log-probabilities are π_old.
                answers = answers.with_columns({OLD: placed(answers, self._first_passes)})
        self.after_step()
        self.curves.add_seconds("perf/update_seconds", time.monotonic() - started)
        self._finish(experience, rate)

    def _collected(self) -> Experience:
        """Samples the experience of this iteration."""
        if self.reference is not None:
            self.reference.refresh(self.model, self.steps_done, self.config.reference_every)
        clock, world = self.rollout.clock, self.trainer.world_size
        drawing, judging = clock.drawing, clock.judging
        experience = self.rollout.collect(self.model, self.steps_done, self.global_rank, world, self.over_ranks)
        self.curves.add_seconds("perf/rollout_seconds", clock.drawing - drawing)
        self.curves.add_seconds("perf/reward_seconds", clock.judging - judging)
        return experience.to(self.device)

    def _prepared(self, experience: Experience) -> Answers:
        """The answers with all numbers that stay the same during the updates."""
        answers = Answers.of(experience)
        self._first_passes = []
        if self.needs_old_pass:
            answers = answers.with_columns({OLD: self._old_logprobs(answers)})
        if self.reference is not None:
            how = (self.passes(answers), self.config.rollout.temperature)
            answers = answers.with_columns({REFERENCE: whole_logprobs(self.reference.model, answers, *how)})
        answers = answers.with_columns(self.columns(experience, answers))
        return answers.counting(self.counted(experience))

    @property
    def _show_due(self) -> bool:
        """Whether the iteration under way is one whose answers are shown."""
        return self.steps_done == 0 or (self.steps_done + 1) % self.config.show_every == 0

    @property
    def needs_old_pass(self) -> bool:
        """Whether π_old must be known before the first update has gone over all answers."""
        return self.config.minibatches > 1

    def _updates_of(self, experience: Experience) -> list[Tensor]:
        """The rows of each update, over all epochs; as many updates as the rank with the fewest groups can make.

        Dynamic sampling may leave ranks with unequal numbers of groups, and an update is a meeting of all of them.
        """
        c, sizes = self.config, (experience.n_groups, experience.group_size)
        parts = int(self.over_ranks(torch.tensor(min(c.minibatches, experience.n_groups), device=self.device), "MIN"))
        return update_rows(*sizes, parts, c.epochs, [self.seed, self.steps_done], self.device)

    def _update(self, optimizer: Any, answers: Answers, counted: bool) -> None:
        """One step of the optimiser, through Lightning where it is `counted`."""
        optimizer.zero_grad()
        answers = answers.with_columns({WEIGHT: self._weights(answers)})
        self._open = StepBatch(self.passes(answers))
        parts = self._accumulate_gradients(self._open, self._totals(self._open))
        norm = self.clip()
        self._guard(optimizer.optimizer, parts["train/loss"], norm)
        self.require_finite()
        (optimizer if counted else optimizer.optimizer).step()
        self.curves.add_update({**parts, "train/grad_norm": norm / self.trainer.world_size})
        self.curves.add_largest("policy/grad_norm_max", norm)

    def clip(self) -> Tensor:
        """Clips the gradients of all networks that train; returns the norm before."""
        return clip_gradients(self.model, self.optimizer_config.max_grad_norm, self.over_ranks)

    def counted(self, experience: Experience) -> Tensor:
        """(B, T) the tokens that train."""
        return self.policy_loss.counted(experience.mask_BT, experience.truncated_B)

    def _weights(self, answers: Answers) -> Tensor:
        """(B, T) weights of an update's tokens; over all ranks they sum to what they would in one process."""
        loss, own = self.policy_loss, self.counts(answers)
        weight_BT = loss.weights(answers.mask_BT, self.config.rollout.group_size, self.config.rollout.max_new_tokens)
        share = own.double() / self.over_ranks(own).clamp_min(1)
        return weight_BT * share[0 if loss.aggregation == "token_mean" else 1]

    def _finish(self, experience: Experience, rate: float) -> None:
        self.steps_done += 1
        self.tokens_seen += self.over_ranks(experience.mask_BT.sum())
        lengths = experience.sums["completions/mean_length"]
        self.tokens_drawn += int(self.over_ranks(torch.tensor(lengths[0], device=self.device)))
        timeouts = self.rollout.gather_timeouts(self.over_ranks, self.device)
        self.window.add(self.curves.taken(experience.sums, self.over_ranks, self.device, self.trainer.world_size))
        if self.log_due:
            self._record_window(rate)
            self._zero_loss.look(self.records.latest, self.trainer.is_global_zero)
            self.records.scalars({"sampling/tokens": self.tokens_drawn, "sampling/timeouts": timeouts})
        if self.is_last_step:
            self.trainer.should_stop = True

    def after_step(self) -> None:
        """Loads of the experts over all updates, and where asked for the rule of the selection biases."""
        self.expert_load = self._loads.taken(self.over_ranks)
        if self.config.router_bias == "per_iteration":
            speed = self.balance.bias_speed(self.steps_done, self.trainer.max_steps)
            move_biases(self.model.routers(), self.expert_load, speed)

    # What lasts between iterations

    @property
    def companions(self) -> dict[str, nn.Module]:
        """The reward model, which decides the rewards."""
        judge = self.rollout.reward_model
        return {} if judge is None else {PART: judge.model}

    def train_dataloader(self) -> EmptyBatches:
        """One empty batch an iteration that is left."""
        return EmptyBatches(self.trainer.max_steps - self.steps_done)

    def val_dataloader(self) -> EmptyBatches:
        """One empty batch: all held-out questions are asked at once."""
        return EmptyBatches(1)

    def on_fit_start(self) -> None:
        """The reward model follows the policy to its device."""
        self.rollout.to(self.device)

    def configure_model(self) -> None:
        """The reference computes in the policy's precision, or their ratio would not start at 1."""
        super().configure_model()
        if self.reference is not None:
            apply(self.reference.model, self.precision, self.trainer.strategy.root_device.type)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the state of the rollouts (curriculum, random state of sampling)."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["run"] |= {"rollout": self.rollout.state_dict(), "tokens_drawn": self.tokens_drawn}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        super().on_load_checkpoint(checkpoint)
        self.rollout.load_state_dict(checkpoint["run"]["rollout"])
        self.tokens_drawn = checkpoint["run"]["tokens_drawn"]

    # One pass

    def micro_loss(self, micro: Answers, totals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Stage.micro_loss`."""
        logp_BT, entropy_BT, output = self._pass(micro)
        old_BT = micro.columns.get(OLD)
        if old_BT is None:
            old_BT = logp_BT.detach()
            self._first_passes.append((micro, old_BT))
        loss, parts = self.objective(micro, logp_BT, old_BT, totals)
        if self.ledger is not None:
            self.ledger.note(micro, logp_BT, old_BT)
        seen = self.curves.of_pass(micro, logp_BT, old_BT, entropy_BT, totals[0])
        mtp = [each / totals[0] for each in mtp_losses(output, micro)]
        loss = loss + sum(mtp) * (self.config.mtp_weight / max(len(mtp), 1))
        return loss, {**parts, **seen, **{f"train/loss_mtp_{k}": each for k, each in enumerate(mtp, start=1)}}

    def _pass(self, micro: Answers) -> tuple[Tensor, Tensor, ModelOutput]:
        """Log-probabilities, entropies and all of a forward of the policy; counts what the routers did."""
        chosen_BTLK = micro.columns[ROUTING].long() if self.config.routing_replay and ROUTING in micro.columns else None
        mtp = self.config.mtp_weight > 0
        found = answer_logprobs(self.model, micro, self.config.rollout.temperature, mtp, chosen_BTLK)
        if found[2].routing:
            self._loads.add(found[2].routing, micro.inside_BT)
        if OLD not in micro.columns:
            compare_with_sampler(self.curves, micro, found[0], found[2])
        return found

    @torch.no_grad()
    def _old_logprobs(self, answers: Answers) -> Tensor:
        """(B, T) log π_old by a pass of its own, whose loads are not those of training."""
        old_BT = placed(answers, ((micro, self._pass(micro)[0]) for micro in self.passes(answers)))
        self._loads = ExpertLoads()
        return old_BT

    def require_finite(self) -> None:
        """Raises TrainingError with the iteration and layer when an update was not finite."""
        step = int(self.bad_step)
        if step < 0:
            return
        totals = self._totals(self._open)
        where = first_non_finite(
            self.model,
            lambda: torch.stack([self.micro_loss(micro, totals)[0] for micro in self._open.micro_batches]).sum(),
            lambda place: int(self.over_ranks(torch.tensor(place, device=self.device), "MIN")),
        )
        raise TrainingError(f"iteration {step}: the loss or its gradient is not finite, first in the {where}")
