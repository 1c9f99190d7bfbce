"""`scripts/evaluate.py what=lm_eval`: the tasks of EleutherAI's lm-evaluation-harness, through its own API.

The harness owns prompts, few-shot examples, scoring and standard errors; this is the model it asks. Log-likelihoods
are one padded forward a batch, generations go through the engine. Its tasks load their data from the hub, and a
task's YAML may name Python code, which it runs: `lm_eval.include_path` is for files of one's own.

Left out: chat templates and images.

Shapes: B requests, T positions, D width, V vocabulary.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, make_table

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.experiment.continuation import answered
from deepseek_lab.experiment.finished import FinishedRun
from deepseek_lab.experiment.harness import HarnessTest
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.generation import Request, Sampling
from deepseek_lab.serving.speaker import Speaker
from deepseek_lab.text.response import ResponseText

TokenPair = tuple[Any, list[int], list[int]]
"""What the harness calls the request, the context's ids, and the ids to be scored behind it."""


class SpeakerLM(TemplateLM):  # type: ignore[misc]
    """A Speaker as the harness wants a model."""

    def __init__(self, speaker: Speaker, batch_size: int) -> None:
        super().__init__()
        self.speaker, self.batch_size = speaker, batch_size
        self.model = speaker.engine.model

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return self.speaker.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        return self.speaker.tokenizer.before_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Plain ids behind the model's prefix, where the harness does not want the text alone."""
        chat = self.speaker.chat
        return chat.encode_plain(string) if add_special_tokens is False else chat.encode_prompt(string)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, in windows that overlap as little as they can."""
        return [self._of_text(request.args[0]) for request in requests]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """A continuation of each context up to the first of its stop strings."""
        asked = [request.args for request in requests]
        answers = answered([self._request(context, wish) for context, wish in asked], self.speaker)
        return [self._text(answer.ids, wish) for (answer,), (_, wish) in zip(answers, asked, strict=True)]

    @torch.no_grad()
    def _loglikelihood_tokens(
        self, requests: list[TokenPair], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        found = []
        for start in range(0, len(requests), self.batch_size):
            found += self._scored([(context, said) for _, context, said in requests[start : start + self.batch_size]])
        return found

    def _scored(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether greedy decoding would have said it."""
        longest = self.speaker.max_seq_len
        pairs = [(context, said[-longest:]) for context, said in pairs]
        rows = [[*context, *said][-longest - 1 :] for context, said in pairs]
        width, device = max(map(len, rows)) - 1, self.model.head_weight_VD.device
        ids_BT = torch.tensor([row[:-1] + [0] * (width + 1 - len(row)) for row in rows], device=device)
        hidden_BTD = self.model(ids_BT).hidden_BTD
        found = []
        for row, hidden_TD, (_, said) in zip(rows, hidden_BTD, pairs, strict=True):
            own_TV = self.model.head(hidden_TD[len(row) - 1 - len(said) : len(row) - 1]).float().log_softmax(-1)
            target_T = torch.tensor(row[-len(said) :], device=device)
            logprob = float(own_TV.gather(1, target_T[:, None]).double().sum())
            found.append((logprob, bool((own_TV.argmax(-1) == target_T).all())))
        return found

    def _of_text(self, text: str) -> float:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.speaker.max_seq_len,
            context_len=1,
        )
        pairs = [(None, *make_disjoint_window(window)) for window in windows]
        return sum(logprob for logprob, _ in self._loglikelihood_tokens(pairs))

    def _request(self, context: str, wish: dict[str, Any]) -> Request:
        n_new = min(int(wish.get("max_gen_toks", 256)), self.speaker.max_seq_len - 1)
        prompt = self.tok_encode(context) or [self.prefix_token_id]
        temperature = float(wish.get("temperature", 0.0)) if wish.get("do_sample") else 0.0
        return Request(
            prompt=prompt[n_new - self.speaker.max_seq_len :],
            max_new_tokens=n_new,
            sampling=Sampling(temperature=temperature, top_p=float(wish.get("top_p", 1.0))),
            stop_ids=self.speaker.stop_ids,
        )

    def _text(self, ids: Sequence[int], wish: dict[str, Any]) -> str:
        until = wish.get("until") or []
        text = ResponseText(self.speaker.tokenizer, [until] if isinstance(until, str) else until, split=False)
        said = "".join(text.feed(token).answer for token in ids)
        return said + text.finish().answer


def _manager(test: HarnessTest) -> TaskManager:
    """Raises ConfigError for a task that the harness does not know."""
    manager = TaskManager(include_path=test.include_path)
    for name in test.tasks:
        if name not in manager.all_tasks:
            raise ConfigError(f"{name!r} is no task of lm-eval{nearest(name, manager.all_tasks)}", "lm_eval.tasks")
    return manager


def evaluate_harness(run: FinishedRun | PublishedModel, speaker: Speaker, test: HarnessTest) -> dict[str, Any]:
    """Runs the tasks; writes `eval_lm_eval.json` into the run's folder and prints the harness's own table."""
    results = simple_evaluate(
        model=SpeakerLM(speaker, test.batch_size),
        tasks=test.tasks,
        num_fewshot=test.num_fewshot,
        limit=test.limit,
        task_manager=_manager(test),
        log_samples=False,
        bootstrap_iters=1000,
    )
    print(make_table(results), file=sys.stderr)
    figures = {"lm_eval": results["results"]}
    write_text_atomically(run.results / "eval_lm_eval.json", json.dumps(figures, indent=1, default=str) + "\n")
    return figures
