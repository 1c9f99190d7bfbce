"""Text from a model: sampling rules, the prefill-decode loop, and the engine that answers many requests at once."""

from deepseek_lab.generation.engine import Engine
from deepseek_lab.generation.generate import generate
from deepseek_lab.generation.request import GREEDY, Completion, Request, Sampling, Token, TokenLogprobs

__all__ = ["GREEDY", "Completion", "Engine", "Request", "Sampling", "Token", "TokenLogprobs", "generate"]
