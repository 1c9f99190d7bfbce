"""AdamW with DeepSeek's settings: betas 0.9 and 0.95, decay 0.1 on matrices, gradients clipped at norm 1.

The update is torch's own (Loshchilov & Hutter 2019, algorithm 2). Its fused kernel is the default, four
times faster than the others on a CPU. `moments=bf16` keeps both moments in bf16 between steps, as DeepSeek-V3
§3.3.3 does: half the bytes of the optimiser; each step widens those of one parameter, updates and rounds them.

Left out: the clipping itself and the schedule, which the stage applies around the step.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from deepseek_lab.optim.adamw_config import AdamWConfig
from deepseek_lab.optim.param_groups import param_groups

MOMENTS = ("exp_avg", "exp_avg_sq")


class AdamW(torch.optim.AdamW):
    """torch's AdamW, built from a checked config."""

    Config: TypeAlias = AdamWConfig


class NarrowMoments(AdamW):
    """AdamW whose moments wait in bf16."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update, a parameter at a time, so that only one has wide moments. The closure's result is returned."""
        with torch.enable_grad():
            result = closure() if closure else None
        groups = self.param_groups
        try:
            for group in groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.param_groups = [{**group, "params": [parameter]}]
                        self._cast(parameter, parameter.dtype)
                        super().step()
                        self._cast(parameter, torch.bfloat16)
        finally:
            self.param_groups = groups
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch widens moments to the dtype of their parameter; they are narrowed again, which loses nothing."""
        super().load_state_dict(state_dict)
        for parameter in self.state:
            self._cast(parameter, torch.bfloat16)

    def _cast(self, parameter: Tensor, dtype: torch.dtype) -> None:
        state = self.state[parameter]
        for name in MOMENTS:
            if name in state:
                state[name] = state[name].to(dtype)


def made(config: AdamWConfig, model: nn.Module) -> AdamW:
    """The optimiser of all trainable parameters of `model`."""
    kind = NarrowMoments if config.moments == "bf16" else AdamW
    return kind(
        param_groups(model, config.weight_decay),
        lr=config.lr,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        fused=config.fused,
    )
