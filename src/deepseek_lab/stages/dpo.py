"""Direct preference optimisation (2305.18290): the policy is its own reward model, against where it started.

    r(x, y) = β (log π(y|x) - log π_ref(y|x)),   L as chosen in objectives/preference.py

π_ref is the model the stage starts with. `live` keeps a frozen copy of it and runs both; `precomputed` takes the
log-probabilities of every pair before the first step and keeps two numbers a pair. Either stands in the
checkpoint: a resumed run has the reference of the run it goes on with, not the policy it has become.

Left out: refreshing the reference.

Shapes: P pairs, 2 the chosen and the rejected answer, T positions, T1 = T + 1 tokens.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.logprobs import hidden_logprobs
from deepseek_lab.objectives.preference import preference_loss
from deepseek_lab.precision.applying import apply
from deepseek_lab.stages.pair_configs import DpoConfig
from deepseek_lab.stages.pairs import PairStage


class DpoStage(PairStage):
    """`DpoConfig(...).build(model, data, …)`, then `Trainer.fit`."""

    reference_P2: Tensor

    def __init__(self, config: DpoConfig, model: Transformer, data: Any, **loop: Any) -> None:
        super().__init__(model, data, **loop)
        self.config = config
        self.reference: Transformer | None = None
        if config.reference == "live":
            self.reference = copy.deepcopy(model).requires_grad_(False)
        else:
            self.register_buffer("reference_P2", torch.zeros(data.n_pairs, 2))

    def configure_model(self) -> None:
        """The reference computes in the policy's precision, or their ratio would not start at 1."""
        super().configure_model()
        if self.reference is not None:
            apply(self.reference, self.precision, self.trainer.strategy.root_device.type)

    def on_fit_start(self) -> None:
        """Log-probabilities of every pair under the model as it is before the first step."""
        if self.reference is not None or self.steps_done:
            return
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            for micro in self.data.every_pair():
                micro = micro.to(self.device)
                self.reference_P2[micro.number_P] = answer_logprobs(self.model, micro).float()

    def pair_losses(self, micro: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """See `PairStage.pair_losses`."""
        policy_P2, reference_P2 = answer_logprobs(self.model, micro), self._reference(micro)
        (chosen, rejected), (from_chosen, from_rejected) = policy_P2.unbind(1), reference_P2.unbind(1)
        how: Any = {"beta": self.config.beta, "kind": self.config.loss, "flip_rate": self.config.flip_rate}
        loss_P, metrics = preference_loss(chosen, rejected, from_chosen, from_rejected, **how)
        return loss_P, {**metrics, "logps/chosen": chosen.detach(), "logps/rejected": rejected.detach()}

    @torch.no_grad()
    def _reference(self, micro: Any) -> Tensor:
        """(P, 2) log-probabilities of both answers under π_ref."""
        if self.reference is None:
            return self.reference_P2[micro.number_P]
        return answer_logprobs(self.reference, micro)


def answer_logprobs(model: Transformer, micro: Any) -> Tensor:
    """(P, 2) log-probability of each whole answer, its end included."""
    tokens_NT1 = micro.tokens_P2T1.flatten(0, 1)
    output = model(tokens_NT1[:, :-1])
    logp_NT, _ = hidden_logprobs(output.hidden_BTD, output.head_weight_VD, tokens_NT1[:, 1:])
    counted_NT = micro.answer_P2T1.flatten(0, 1)[:, 1:]
    return torch.where(counted_NT, logp_NT, 0.0).sum(1).view(-1, 2)
