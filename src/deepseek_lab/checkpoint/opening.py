"""Any model that a person may name (`located`), opened."""

from deepseek_lab.checkpoint.gguf_file import load_gguf
from deepseek_lab.checkpoint.huggingface import load_pretrained
from deepseek_lab.checkpoint.located import is_gguf, is_published, located
from deepseek_lab.checkpoint.native import load_model
from deepseek_lab.model.transformer import Transformer


def load_any(path: str) -> Transformer:
    """The model in fp32 on the CPU, in eval mode. Raises DataError in one line."""
    place = located(path)
    if is_gguf(place):
        return load_gguf(place)
    return load_pretrained(place) if is_published(place) else load_model(place)
