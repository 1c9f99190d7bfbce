"""The routed experts for a few tokens without gradients: decoding.

A grouped product reads an expert's matrix slowly when a row or two need it (see `model.linear`), so a loop over the
chosen experts is quicker, and no other expert is touched. A compiler gets a form that it can fuse.

Shapes: N tokens, K experts a token, M = N·K rows, D width, E experts, I expert width, X = 2I.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from deepseek_lab.model.ffn.dense import swiglu
from deepseek_lab.model.linear import prepared_for, project


def experts_of_few(x_ND: Tensor, weight_NK: Tensor, chosen_NK: Tensor, gate_up_EXD: Tensor, down_EDI: Tensor) -> Tensor:
    """Σ_k weight_k · expert_k(x) for each token -> (N, D)."""
    form = _fusible if torch.compiler.is_compiling() else _one_by_one
    return form(x_ND, weight_NK, chosen_NK, gate_up_EXD, down_EDI)


def _one_by_one(x_ND: Tensor, weight_NK: Tensor, chosen_NK: Tensor, gate_up_EXD: Tensor, down_EDI: Tensor) -> Tensor:
    n_tokens, per_token = chosen_NK.shape
    places: dict[int, list[int]] = {}
    for place, expert in enumerate(chosen_NK.flatten().tolist()):
        places.setdefault(expert, []).append(place)
    counts = [len(some) for some in places.values()]
    order_M = torch.tensor([place for some in places.values() for place in some], device=x_ND.device)
    token_M = order_M // per_token
    rows_MD = x_ND.expand(per_token, -1) if n_tokens == 1 else x_ND.index_select(0, token_M)
    gate_up_MX = _each(rows_MD, gate_up_EXD, places, counts)
    hidden_MI = swiglu(gate_up_MX) * weight_NK.flatten()[order_M, None].to(x_ND.dtype)
    y_MD = _each(hidden_MI, down_EDI, places, counts)
    if n_tokens == 1:
        return y_MD.sum(0, keepdim=True)
    return torch.zeros_like(x_ND).index_add_(0, token_M, y_MD)


def _each(rows_MI: Tensor, weight_EOI: Tensor, experts: Iterable[int], counts: list[int]) -> Tensor:
    """Each expert's rows times its matrix, (M, O)."""
    prepared = prepared_for(rows_MI, weight_EOI)
    matrices = weight_EOI if prepared is None else prepared.kept(weight_EOI, "experts", lambda: weight_EOI.unbind(0))
    pieces = zip(experts, rows_MI.split(counts), strict=True)
    return torch.cat([project(rows, matrices[expert]) for expert, rows in pieces])


def _fusible(x_ND: Tensor, weight_NK: Tensor, chosen_NK: Tensor, gate_up_EXD: Tensor, down_EDI: Tensor) -> Tensor:
    """Compiled, the chosen matrices are read where they lie, once for each row; eagerly they would be copied."""
    gate_up_NKX = (gate_up_EXD[chosen_NK] * x_ND[:, None, None]).sum(-1)
    hidden_NKI = swiglu(gate_up_NKX) * weight_NK[..., None].to(x_ND.dtype)
    return (down_EDI[chosen_NK] * hidden_NKI[:, :, None]).sum(-1).sum(1)
