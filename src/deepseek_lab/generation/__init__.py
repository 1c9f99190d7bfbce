"""Text from a model: sampling rules and the prefill-decode loop."""

from deepseek_lab.generation.engine import Completion, Engine, Request, Sampling, Token
from deepseek_lab.generation.generate import generate

__all__ = ["Completion", "Engine", "Request", "Sampling", "Token", "generate"]
