"""`scripts/rejection_sampling.py`: a model's own right answers as data to fine-tune on (DeepSeek-R1 §2.3.3).

Training questions are answered several times each. What is kept is right, was not cut off, and keeps the form and the
language that `least` asks for: R1 drops mixed languages, long paragraphs and code blocks. Of a question that is
solved often only `keep` answers stay, or the easy ones would be most of the data.

Written are `kept.jsonl`, in the form that data=instructions reads, `pairs.jsonl`, a right and a wrong answer to each
question that got both, as data=preferences reads them, and `counts.json`, what was dropped and why.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.command_line.outcome import say
from deepseek_lab.config import CheckedConfig, ConfigError, nearest
from deepseek_lab.experiment.attempts import DONE, Attempts, AttemptsTest, attempted
from deepseek_lab.experiment.configs import task_of
from deepseek_lab.experiment.finished import device_of, find_run
from deepseek_lab.pipeline.costs import COUNTS
from deepseek_lab.serving.speaker import engine_config, load_speaker, sampling_of
from deepseek_lab.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class RejectionSampling(CheckedConfig):
    """questions: of the training split; samples: answers to each; keep: right ones that stay, at most.

    least: for parts of the verdict the least that an answer must have; longest: of an answer, in tokens
    """

    questions: int
    samples: int
    keep: int
    least: dict[str, float]
    longest: int | None
    prompt: str
    chat: bool
    thinking: bool
    max_new_tokens: int
    seed: int

    def check(self) -> None:
        self.require_positive("questions", "samples", "keep", "longest", "max_new_tokens")
        self.attempts()

    def attempts(self) -> AttemptsTest:
        """How questions are answered. Raises ConfigError."""
        names = ("questions", "samples", "prompt", "chat", "thinking", "max_new_tokens", "seed")
        return AttemptsTest(**{name: getattr(self, name) for name in names}, k=[1])


def check(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no rejection sampling has."""
    wish, task = wish_of(cfg), task_of(cfg)
    _require_parts(wish.least, task)
    sampling_of(cfg)
    engine_config(cfg)
    device_of(cfg.accelerator)


def wish_of(cfg: DictConfig) -> RejectionSampling:
    """The node `sampling`. Raises ConfigError with the path of the key."""
    values: Any = OmegaConf.to_container(cfg.sampling, resolve=True)
    try:
        return RejectionSampling(**values)
    except ConfigError as error:
        raise error.at("sampling") from None


def _require_parts(least: Mapping[str, float], task: Task) -> None:
    """Raises ConfigError for a part that the task's verdicts do not have."""
    known = task.rewards(task.examples("train", 1), [""])[0].parts
    for part in least:
        if part not in known:
            raise ConfigError(f"is no part of a verdict{nearest(part, known)}", f"sampling.least.{part}")


def sample(cfg: DictConfig) -> None:
    """Answers, judges, and writes what stays; where nothing does, an empty file and a warning."""
    run, task, wish = find_run(cfg.checkpoint), task_of(cfg), wish_of(cfg)
    folder = run.folder / "rejection_sampling" if cfg.out is None else Path(str(cfg.out)).expanduser()
    examples = task.examples("train", wish.questions)
    attempts = attempted(task, examples, wish.attempts(), load_speaker(cfg, run), sampling_of(cfg))
    counts: Counter[str] = Counter()
    rows = [row for one in attempts for row in kept(one, task, wish, counts)]
    Console(stderr=True, markup=False, emoji=False).print(said_of(counts, len(rows)), highlight=False)
    if not rows:
        say("no answer could be kept: kept.jsonl is empty", "warning")
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "kept.jsonl", _lines(rows))
    write_text_atomically(folder / "pairs.jsonl", _lines([pair for one in attempts for pair in pairs_of(one)]))
    drawn = sum(sum(one.lengths) for one in attempts)
    content = {"kept": len(rows), "tokens": drawn, **counts}
    write_text_atomically(folder / COUNTS, json.dumps(content, indent=1) + "\n")
    write_text_atomically(folder / DONE, "")


def _lines(rows: Sequence[Mapping[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def pairs_of(attempts: Attempts) -> Iterator[dict[str, str]]:
    """The first right answer and the first wrong one that was not cut off, where there are both.

    The same text may be both, where a clock decided, and is no pair; what nobody could judge is no wrong answer.
    """
    whole = [place for place, cut in enumerate(attempts.cut_off) if not cut and attempts.totals[place] is not None]
    right = [attempts.said[place] for place in whole if attempts.right[place]]
    chosen = next(iter(right), None)
    wrong = (attempts.said[place] for place in whole if not attempts.right[place])
    rejected = next((text for text in wrong if text not in right), None)
    if chosen is not None and rejected is not None:
        yield {"prompt": attempts.example.question, "chosen": chosen, "rejected": rejected}


def kept(attempts: Attempts, task: Task, wish: RejectionSampling, counts: Counter[str]) -> Iterator[dict[str, str]]:
    """The rows that stay of one question; `counts` takes note of every answer."""
    verdicts = task.rewards([attempts.example] * len(attempts.said), attempts.said)
    seen: set[str] = set()
    for place, (text, verdict) in enumerate(zip(attempts.said, verdicts, strict=True)):
        why = _dropped(attempts, place, verdict.parts, wish)
        if why is None and (text in seen or len(seen) == wish.keep):
            why = "another answer stays"
        counts[f"dropped: {why}" if why else "right and in form"] += 1
        if why is None:
            seen.add(text)
            yield {"prompt": attempts.example.question, "completion": text}


def _dropped(attempts: Attempts, place: int, parts: Mapping[str, float], wish: RejectionSampling) -> str | None:
    """Why an answer cannot stay; None where it can."""
    if attempts.cut_off[place]:
        return "cut off"
    if not attempts.right[place]:
        return "wrong"
    if wish.longest is not None and attempts.lengths[place] > wish.longest:
        return "too long"
    return next((f"too little {part}" for part, least in wish.least.items() if parts[part] < least), None)


def said_of(counts: Mapping[str, int], n_kept: int) -> str:
    """One line."""
    reasons: Sequence[str] = [f"{count} {name}" for name, count in sorted(counts.items()) if name.startswith("dropped")]
    return f"{n_kept} of {sum(counts.values())} answers stay; " + ", ".join(reasons)
