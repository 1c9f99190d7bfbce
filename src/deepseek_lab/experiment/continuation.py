"""`scripts/generate.py`: a trained model continues prompts, or talks in the terminal."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.command_line.outcome import say
from deepseek_lab.config import ConfigError
from deepseek_lab.data.chat_rows import counted
from deepseek_lab.experiment.finished import device_of
from deepseek_lab.experiment.prompts import Prompt
from deepseek_lab.experiment.shown import Shown, require_healthy, visible
from deepseek_lab.experiment.wish import Wish
from deepseek_lab.generation import Completion, Request, Sampling
from deepseek_lab.serving.speaker import Speaker, engine_config, load_speaker, own_defaults_line, sampling_of
from deepseek_lab.text.chat import ChatPrompt
from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.response import ResponseText

FALLBACK = Sampling(temperature=0.8)
MAX_NEW_TOKENS = 128
"""What counts where neither a person nor the model's files say anything."""


def check_generation(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no generation has."""
    Wish.of(cfg)
    sampling_of(cfg)
    engine_config(cfg)
    device_of(cfg.accelerator)


def generate(cfg: DictConfig) -> None:
    """Prints what the model says to each prompt, or writes it to `out`."""
    check_generation(cfg)
    wish = Wish.of(cfg)
    prompts = [] if wish.talks else wish.asked()
    if notes := counted(Counter(note for prompt in prompts for note in prompt.notes)):
        say(f"{wish.prompts}: {notes}", "note")
    speaker = load_speaker(cfg)
    sampling = sampling_of(cfg, FALLBACK, speaker.generation)
    if line := own_defaults_line(cfg, speaker.generation, cfg.max_new_tokens):
        say(line, "note")
    if wish.talks:
        from deepseek_lab.experiment.conversation import converse

        converse(speaker, wish, sampling)
        return
    begun = [begun_by(prompt, speaker, wish) for prompt in prompts]
    requests = [request_of(prompt, ids, speaker, wish, sampling) for prompt, ids in zip(prompts, begun, strict=True)]
    single = len(requests) == 1 and wish.n == 1 and wish.format == "text" and wish.out is None
    if single and wish.stream:
        _stream(prompts[0], begun[0], requests[0], speaker, wish)
        return
    answers = answered(requests, speaker)
    _deliver([_row(*row, speaker, wish) for row in zip(prompts, begun, answers, strict=True)], wish)


def begun_by(prompt: Prompt, speaker: Speaker, wish: Wish) -> ChatPrompt:
    """The tokens that the model goes on from, and whether they open its thought."""
    if prompt.messages:
        return speaker.chat.prompt(prompt.messages, wish.thinking)
    return ChatPrompt(speaker.chat.encode_prompt(prompt.text), opens_thought=False)


def request_of(prompt: Prompt, begun: ChatPrompt, speaker: Speaker, wish: Wish, sampling: Sampling) -> Request:
    """What the engine is asked. Raises ConfigError when the model has no room behind the prompt."""
    ids = begun.ids
    room = speaker.room(ids)
    wanted = wish.max_new_tokens or max(1, min(room, speaker.generation.max_new_tokens or MAX_NEW_TOKENS))
    if wanted > room:
        raise ConfigError(
            f"is {wanted}, but behind the prompt's {len(ids)} tokens there is room for {max(room, 0)}"
            + (f" ({prompt.where})" if prompt.where else ""),
            "max_new_tokens",
        )
    return Request(
        prompt=ids,
        max_new_tokens=wanted,
        sampling=sampling,
        stop_ids=speaker.stop_ids,
        seed=wish.seed,
        n=wish.n,
    )


def response_text(speaker: Speaker, wish: Wish, prompt: Prompt, begun: ChatPrompt) -> ResponseText:
    """What turns tokens into the response to `prompt`."""
    return ResponseText(speaker.tokenizer, wish.stop, bool(prompt.messages), begun.opens_thought, speaker.stop_ids)


def _stream(prompt: Prompt, begun: ChatPrompt, request: Request, speaker: Speaker, wish: Wish) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True, emoji=False)
    if not prompt.messages:
        sys.stdout.write(prompt.text)
    show = Shown(console)
    text = response_text(speaker, wish, prompt, begun)
    for token in speaker.engine.stream(request):
        require_healthy(token.finish_reason, token.error)
        show.add(text.feed(token.id))
        if text.stopped:
            break
    show.add(text.finish())
    sys.stdout.write("\n")


def answered(requests: list[Request], speaker: Speaker) -> list[list[Completion]]:
    """The completions of all requests, under a bar. Raises GenerationError where the engine gave one up."""
    with Progress(console=Console(stderr=True, markup=False, emoji=False), transient=True) as bar:
        task = bar.add_task("generating", total=None)
        answers = speaker.engine.run(requests, lambda done, total: bar.update(task, completed=done, total=total))
    for name, share in speaker.engine.acceptance.items():
        print(f"{name} {share:.2f}", file=sys.stderr)
    for answer in (answer for several in answers for answer in several):
        require_healthy(answer.finish_reason, answer.error)
    return answers


def _row(prompt: Prompt, begun: ChatPrompt, answers: list[Completion], speaker: Speaker, wish: Wish) -> dict[str, Any]:
    """One line of the jsonl output."""
    texts = (response_text(speaker, wish, prompt, begun) for _ in answers)
    said = [_completion(answer, prompt, text) for answer, text in zip(answers, texts, strict=True)]
    return {**prompt.as_data, "completions": said}


def _completion(answer: Completion, prompt: Prompt, text: ResponseText) -> dict[str, Any]:
    parts = Parts()
    for token in answer.ids:
        parts += text.feed(token)
    parts += text.finish()
    return {
        "text": parts.answer,
        **({"reasoning": parts.reasoning} if prompt.messages else {}),
        "finish_reason": "stop" if text.stopped else answer.finish_reason,
        "tokens": len(answer.ids),
        "logprob": sum(answer.logprobs),
    }


def _deliver(rows: list[dict[str, Any]], wish: Wish) -> None:
    if wish.format == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        text = "\n".join(_as_text(row) for row in rows)
    if wish.out is None:
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    else:
        write_text_atomically(Path(wish.out).expanduser(), text)


def _as_text(row: dict[str, Any]) -> str:
    """A prompt with what followed; several responses one after the other."""
    said = []
    for completion in row["completions"]:
        thought = completion.get("reasoning")
        said.append((f"(thought)\n{thought}\n(answer)\n" if thought else "") + completion["text"])
    if "prompt" in row:
        return "".join(f"{row['prompt']}{text}\n" for text in said)
    asked = row["messages"][-1]["content"]
    return f"> {asked}\n" + "".join(f"{text}\n" for text in said)
