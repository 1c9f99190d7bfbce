"""The tokenizer files of a Hugging Face folder: tokenizer.json, tokenizer_config.json and the chat template.

`tokenizers` writes and reads the first; the second says what the control tokens are called, for transformers'
AutoTokenizer; the third is a file of its own, or a text in the second (older folders).
"""

import json
from pathlib import Path
from typing import Any

from deepseek_lab.text.generation_defaults import GENERATION
from deepseek_lab.text.special_names import FILE, TEMPLATE
from deepseek_lab.text.tokenizer import Tokenizer

TOKENIZER = "tokenizer.json"


def write_tokenizer_files(folder: Path, tokenizer: Tokenizer, template: str, longest: int) -> None:
    """Writes the three files; `longest` is the model's longest text in tokens."""
    names = tokenizer.names
    known = {name: value for name, value in names.as_published().items() if value in tokenizer.special_ids}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": names.add_begin,
        **known,
    }
    (folder / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
    (folder / FILE).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / TEMPLATE).write_text(template, encoding="utf-8")
    if generation := tokenizer.generation_file():
        (folder / GENERATION).write_text(generation, encoding="utf-8")


def token_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """bos_token_id, eos_token_id and pad_token_id, as a config.json has them: several ends as a list."""
    names = tokenizer.names.as_published()
    ids = {f"{kind}_token_id": tokenizer.special_ids.get(names[f"{kind}_token"]) for kind in ("bos", "eos", "pad")}
    return {**ids, **({"eos_token_id": tokenizer.end_ids} if len(tokenizer.end_ids) > 1 else {})}
