"""`scripts/generate.py`: a trained model continues a prompt."""

import torch
from omegaconf import DictConfig

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.finished import device_of, find_run
from deepseek_lab.generation import generate as continue_tokens


def generate(cfg: DictConfig) -> str:
    """Prints the prompt and its continuation; returns both as one text."""
    check_generation(cfg)
    device = device_of(cfg.accelerator)
    if cfg.n_threads:
        torch.set_num_threads(cfg.n_threads)
    run = find_run(cfg.checkpoint)
    tokenizer, model = run.tokenizer(), run.model(device)
    prompt = tokenizer.encode(cfg.prompt)
    room = model.config.max_seq_len - len(prompt)
    if cfg.max_new_tokens > room:
        raise ConfigError(
            f"is {cfg.max_new_tokens}, but behind the prompt's {len(prompt)} tokens the model has room for {room}",
            "max_new_tokens",
        )
    generator = torch.Generator(device=device).manual_seed(cfg.seed)
    ids = continue_tokens(
        model, [prompt], cfg.max_new_tokens, cfg.temperature, cfg.top_k, tokenizer.eos_id, generator=generator
    )
    text = tokenizer.decode(ids[0].tolist(), skip_special=True)
    print(text)
    return text


def check_generation(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no generation has."""
    whole = {"max_new_tokens": 1, "seed": 0} | ({} if cfg.top_k is None else {"top_k": 1})
    for name, least in whole.items():
        if isinstance(cfg[name], bool) or not isinstance(cfg[name], int) or cfg[name] < least:
            raise ConfigError(f"must be an integer of at least {least}, not {cfg[name]!r}", name)
    if not isinstance(cfg.temperature, (int, float)) or cfg.temperature < 0:
        raise ConfigError(f"must be a number of at least 0, not {cfg.temperature!r}", "temperature")
    if not isinstance(cfg.prompt, str) or not cfg.prompt:
        raise ConfigError("must be a text of at least one character", "prompt")
    device_of(cfg.accelerator)
