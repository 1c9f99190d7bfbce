"""Muon (Jordan et al. 2024) for the matrices inside the network, AdamW for all else, in one optimiser.

    B ← μB + (1 − μ)G;   O = orthogonalised(G + μ(B − G), or B without Nesterov);   W ← W − η(0.2·√max(R, C)·O + λW)

0.2·√max(R, C) gives the update the root mean square of AdamW's, and weight decay is AdamW's too, so both share one
learning rate (Moonlight, Liu et al. 2025, §2.2). A matrix is what maps one activation to another: each expert of a
stacked weight is one, and gate and up, which stand in one parameter, are two. Embedding, head and router are AdamW's
(their rows belong to tokens and experts), as are norms and biases.

Matrices of one shape are orthogonalised together, over all layers. torch's own Muon takes 2-D parameters alone and
one after the other. Left out: sending each matrix to one rank; under FSDP every rank gathers every momentum.

Shapes: N matrices, R rows, C columns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from deepseek_lab.config import ConfigError
from deepseek_lab.optim.muon_config import MuonConfig
from deepseek_lab.optim.orthogonal import orthogonalised
from deepseek_lab.optim.shares import share_of, whole_of

AT_ONCE = 2**26
"""Numbers of one batch of matrices at most, which bounds the memory of a step."""


class Muon(torch.optim.Optimizer):
    """`Muon.Config(…).build(model)`."""

    Config: TypeAlias = MuonConfig

    def __init__(self, config: Config, model: nn.Module) -> None:
        shared = {"lr": config.lr, "weight_decay": config.weight_decay}
        adamw = {**shared, "betas": tuple(config.betas), "eps": config.eps, "fused": config.fused, "n_stacked": 0}
        muon = {
            **shared,
            "momentum": config.momentum,
            "nesterov": config.nesterov,
            "newton_schulz_steps": config.newton_schulz_steps,
        }
        groups: list[dict[str, Any]] = [
            *({**muon, "params": some, "n_stacked": n} for n, some in _matrices(config, model).items()),
            {**adamw, "params": [p for p in _others(config, model) if p.ndim >= 2]},
            {**adamw, "params": [p for p in _others(config, model) if p.ndim < 2], "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["n_stacked"] else self._adamw)(group, params)
        return loss

    def _adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self.state[p] or self._first_moments(p, group["fused"]) for p in params]
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=False,
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _first_moments(self, param: Tensor, fused: bool) -> dict[str, Tensor]:
        step = torch.zeros((), dtype=torch.float32, device=param.device if fused else "cpu")
        state = {"step": step, "exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
        self.state[param] = state
        return state

    def _muon(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for some in _batches(params):
            momenta = [self._moved_momentum(p, group) for p in some]
            matrices_NRC = torch.cat([_as_matrices(whole_of(momentum), group["n_stacked"]) for momentum in momenta])
            scale = 0.2 * max(matrices_NRC.shape[-2:]) ** 0.5
            updates_NRC = orthogonalised(matrices_NRC, group["newton_schulz_steps"])
            for p, update in zip(some, updates_NRC.chunk(len(some)), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(share_of(update.reshape(p.shape), p), alpha=-group["lr"] * scale)

    def _moved_momentum(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        """Moves the stored momentum by the gradient; what is orthogonalised."""
        grad, state = param.grad, self.state[param]
        assert grad is not None, "only parameters with a gradient come here"
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(grad, 1 - group["momentum"])
        return grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum


def _trainable(model: nn.Module) -> Iterator[tuple[set[str], Tensor]]:
    """Every trainable parameter once, with the words of its name."""
    return ((set(name.split(".")), p) for name, p in model.named_parameters() if p.requires_grad)


def numbers_kept(config: Muon.Config, model: nn.Module) -> int:
    """How many the optimiser keeps: a momentum of every matrix, two moments of all else."""
    return sum(p.numel() * (1 if _is_muons(config, words, p) else 2) for words, p in _trainable(model))


def _is_muons(config: Muon.Config, words: set[str], param: Tensor) -> bool:
    return param.ndim >= 2 and not words & set(config.adamw_parts)


def _others(config: Muon.Config, model: nn.Module) -> list[Tensor]:
    return [p for words, p in _trainable(model) if not _is_muons(config, words, p)]


def _matrices(config: Muon.Config, model: nn.Module) -> dict[int, list[Tensor]]:
    """Muon's parameters by how many matrices stand in one (of each expert). Raises ConfigError where that is no cut."""
    found: defaultdict[int, list[Tensor]] = defaultdict(list)
    for words, p in _trainable(model):
        if _is_muons(config, words, p):
            name, n_stacked = next(((k, n) for k, n in config.stacked.items() if k in words), ("", 1))
            if p.shape[-2] % n_stacked or n_stacked < 1:
                raise ConfigError(f"= {n_stacked} does not cut the {p.shape[-2]} rows of its weight", f"stacked.{name}")
            found[n_stacked].append(p)
    return found


def _batches(params: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of one shape together, as many as AT_ONCE allows; the order of the model inside."""
    by_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
    for p in params:
        by_shape[p.shape].append(p)
    for shape, some in by_shape.items():
        count = max(1, AT_ONCE // shape.numel())
        yield from (some[start : start + count] for start in range(0, len(some), count))


def _as_matrices(tensor: Tensor, n_stacked: int) -> Tensor:
    """(n·R, C) or (E, n·R, C) -> (N, R, C)."""
    return tensor.reshape(-1, tensor.shape[-2] // n_stacked, tensor.shape[-1])
