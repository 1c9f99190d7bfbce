"""Initial weights: every matrix from N(0, std²), norms one, biases zero.

DeepSeek's papers state std 0.006 for all learnable parameters (LLM-style models, MoE, V2 §3.1.2,
V3 §4.2); the 0.02 in their published configs is a library default. Left out: depth-scaled
residual projections, which no DeepSeek paper uses.
"""

from torch import nn


def initialise(model: nn.Module, std: float) -> None:
    """Draws all matrices in parameter order from torch's global generator; tied ones are drawn once.

    A model on `meta` has no numbers: torch would import its compiler, seconds long, to draw none.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, mean=0.0, std=std)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
