"""`init_from=…`: a new run that starts from another model's weights, and so with its tokenizer.

From a run of ours: the parts are typed again, and only what turns positions into angles may differ (`model.rope`,
`model.max_seq_len`), which is how a context is extended, and what the weights were drawn with. From a published model
(a Hugging Face folder, a GGUF file, a name on the hub), or a run that began with one: its network is taken as it is,
because no sheet describes it. Left out: networks of another shape; a part that does not fit would start untrained
unnoticed.
"""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.checkpoint.native import describe
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.finished import NETWORK, FinishedRun, find_run
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.model.value_head import ValueModel
from deepseek_lab.text.generation_defaults import GENERATION
from deepseek_lab.text.special_names import TEMPLATE, SpecialNames
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

_NETWORK_KEYS = ("model", "attention", "ffn", "mtp", "experts")


def started_model(config: Transformer.Config, run: str, rewards: bool = False) -> Transformer:
    """A model of `config` with the weights of `run`. Raises ConfigError, naming the part, for another shape.

    rewards: for a reward model, which may start from a reward model's network; `take_head` brings its head
    """
    found, judge = find_run(run), _judge(run) if rewards else None
    if judge is None and found.network() == config:
        return found.model(torch.device("cpu"))
    model = config.build()
    _take(model, found.model(torch.device("cpu")) if judge is None else judge.backbone, run)
    return model


def _judge(run: str) -> ValueModel | None:
    """The model of a run of stage=reward; None for all others."""
    found = find_run(run)
    return found.reward_model() if isinstance(found, FinishedRun) else None


def take_head(model: ValueModel, run: str) -> None:
    """Where `run` is a reward model too, its scalar head: that model goes on, instead of starting to prefer anew."""
    start = _judge(run)
    if start is not None:
        model.load_state_dict({**model.state_dict(), "value_D": start.value_D})


def _take(model: Transformer, start: Transformer, run: str) -> None:
    """Copies the weights of `run`'s network. Raises ConfigError, naming the part, for another shape."""
    ours, theirs = model.config, start.config
    theirs = replace(theirs, rope=ours.rope, max_seq_len=ours.max_seq_len, init_std=ours.init_std)
    for field in fields(ours):
        have, want = getattr(theirs, field.name), getattr(ours, field.name)
        if have != want:
            raise ConfigError(
                f"{run} holds a model of another shape: its {field.name} is {have}, not {want}", "init_from"
            )
    model.load_state_dict(start.state_dict())


def network_of(init_from: str | None, resume: str | None) -> Transformer.Config | None:
    """The network that a run gets from what it starts from or goes on with; None where the typed parts count."""
    return find_run(resume or init_from).network() if init_from else None


def require_untyped(init_from: str | None, overrides: Sequence[str]) -> None:
    """Raises ConfigError for a typed part of the network where the start brings its own."""
    if not init_from or find_run(init_from).network() is None:
        return
    for override in overrides:
        key = override.split("=")[0].lstrip("+~").split("@")[0]
        if key.split(".")[0] in _NETWORK_KEYS:
            raise ConfigError("changes nothing: init_from brings its own network", key)


def keep_text_and_shape(
    folder: Path, tokenizer: Tokenizer, network: Transformer.Config | None, own_turns: bool = False
) -> None:
    """Writes what a reader of a run's folder needs beside the weights; `network` where no sheet describes it.

    own_turns: the run learnt conversations in the marks of its tokenizer's family, and speaks so from now on; the chat
        template that came with the tokenizer is kept by all others
    """
    write_text_atomically(folder / "tokenizer.json", tokenizer.to_json())
    if tokenizer.chat_template is not None and not own_turns:
        write_text_atomically(folder / TEMPLATE, tokenizer.chat_template)
    if generation := tokenizer.generation_file():
        write_text_atomically(folder / GENERATION, generation)
    if tokenizer.names != SpecialNames():
        tokenizer.names.save_beside(folder / "tokenizer.json")
    if network is not None:
        write_text_atomically(folder / NETWORK, json.dumps(describe(network), indent=1) + "\n")


def tokenizer_of(run: str) -> TokenizerConfig:
    """The tokenizer of a run or a published model. Raises DataError when it is gone."""
    return find_run(run).tokenizer_config()


def shared_tokenizer(runs: Sequence[str]) -> TokenizerConfig:
    """The tokenizer of all `runs` (a student and its teacher). Raises ConfigError when they have different ones."""
    first, *others = (tokenizer_of(run) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        if other.build(()).fingerprint() != first.build(()).fingerprint():
            raise ConfigError(f"{run} has another tokenizer than {runs[0]}", "init_from")
    return first
