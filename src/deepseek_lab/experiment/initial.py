"""`init_from=<run>`: a new run that starts from another's weights, and so with its tokenizer.

Only what turns positions into angles may differ (`model.rope`, `model.max_seq_len`), which is how a context is
extended, and what the weights were drawn with. Left out: networks of another shape; a part that does not fit
would start untrained unnoticed.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.finished import find_run
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.text.saved import SavedTokenizer


def take_weights(model: Transformer, run: str) -> None:
    """Copies the weights of a run's newest checkpoint. Raises ConfigError, naming the part, for another shape."""
    start = find_run(run).model(torch.device("cpu"))
    ours, theirs = model.config, start.config
    theirs = replace(theirs, rope=ours.rope, max_seq_len=ours.max_seq_len, init_std=ours.init_std)
    for field in fields(ours):
        have, want = getattr(theirs, field.name), getattr(ours, field.name)
        if have != want:
            raise ConfigError(
                f"{run} holds a model of another shape: its {field.name} is {have}, not {want}", "init_from"
            )
    model.load_state_dict(start.state_dict())


def tokenizer_of(run: str) -> SavedTokenizer.Config:
    """The tokenizer of a run folder, or of the folder that a checkpoint lies in. Raises DataError when it is gone."""
    config = SavedTokenizer.Config(path=str(find_run(run).folder / "tokenizer.json"))
    config.build()
    return config


def shared_tokenizer(runs: Sequence[str]) -> SavedTokenizer.Config:
    """The tokenizer of all `runs` (a student and its teacher). Raises ConfigError when they have different ones."""
    first, *others = (tokenizer_of(run) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        if other.build().fingerprint() != first.build().fingerprint():
            raise ConfigError(f"{run} has another tokenizer than {runs[0]}", "init_from")
    return first
