"""Tasks of reasoning-gym without its three traps: leaking seeds, partial credit, answers that are evaluated."""

import itertools
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.gym_process import ScoringProcess
from deepseek_lab.tasks.reasoning_gym import ReasoningGym
from deepseek_lab.tasks.task import SPLITS, Example, Task

pytest.importorskip("reasoning_gym")


@pytest.fixture(scope="module")
def sums() -> Task:
    return ReasoningGym.Config(options={"min_terms": 2, "max_terms": 3, "max_digits": 2}).build()


@pytest.fixture(scope="module")
def spirals() -> Task:
    """Its scoring evaluates what is no list of numbers."""
    return ReasoningGym.Config(dataset="spiral_matrix", size=200).build()


def judged(task, example, *answers):
    said = [f"<think>so</think><answer>{answer}</answer>" for answer in answers]
    return task.rewards([example] * len(said), said)


def test_right_answers_are_right_and_nothing_near_them(sums):
    for example in sums.examples("train", 30):
        right, near = judged(sums, example, example.answer, f"{example.answer} or so")
        assert (right.total, near.total) == (1.0, 0.0), "the package gives the second a part of the credit"
        assert right.parts == {"correct": 1.0, "format": 1.0}
    assert sums.vote("<answer>7 or so</answer>") == "7 or so"


def test_a_real_minus_and_a_final_dot_are_read(sums):
    examples = [e for e in sums.examples("train", 300) if e.answer.startswith("-")][:3]
    assert examples
    for example in examples:
        said = example.answer.replace("-", "\N{MINUS SIGN}")
        rewards = judged(sums, example, said, f"{said}.", f"{example.answer}.", example.answer[1:])
        assert [reward.total for reward in rewards] == [1, 1, 1, 0]
        assert sums.vote(f"<think>7</think><answer>{said}.</answer>") == example.answer


def test_no_credit_for_any_answer_at_all_and_no_scorer_left_behind():
    task = ReasoningGym.Config(dataset="countdown", size=20).build()
    example = task.examples("train", 1)[0]
    rewards = [*judged(task, example, "1", "", "nonsense", "import os"), *task.rewards([example], ["no answer"])]
    assert [reward.total for reward in rewards] == [0.0] * 5, "the package gives 0.01 and 0.05"
    pid = task._scoring._process.pid
    del task
    assert not Path(f"/proc/{pid}").exists() or os.waitpid(pid, os.WNOHANG)[0] == pid


def test_splits_share_no_question_whatever_the_seed(sums):
    by_split = {split: {e.question for e in sums.examples(split, 200)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert by_split[one].isdisjoint(by_split[other])
    reseeded = ReasoningGym.Config(options={"min_terms": 2, "max_terms": 3, "max_digits": 2}, seed=1).build()
    trained = {e.question for e in reseeded.examples("train", 1000)}
    assert by_split["train"] & trained, "the package's neighbouring seeds share items"
    assert by_split["test"].isdisjoint(trained)
    assert sums.examples("test", 20) == sums.examples("test", 200)[:20]


@pytest.mark.parametrize(
    "hostile",
    [
        "open('{path}', 'w')",
        "__import__('os').system('touch {path}')",
        "__import__('os')._exit(0)",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        *(f"[__import__('os').write({n}, b'x 1.0'), __import__('os')._exit(0)]" for n in range(3, 7)),
        "[0] * 10**12",
        "'x' * 9",
        "(" * 900,
        "\x00\ud800",
        "",
    ],
)
def test_answers_that_are_evaluated_do_no_harm_and_earn_nothing(spirals, tmp_path, hostile):
    path = tmp_path / "written"
    example = spirals.examples("train", 1)[0]
    start = time.monotonic()
    (reward,) = judged(spirals, example, hostile.format(path=path))
    assert reward.total == 0.0
    assert time.monotonic() - start < 30
    assert not path.exists()
    assert judged(spirals, example, example.answer)[0].total == 1.0, "the next answer is judged as ever"


def test_an_answer_cannot_change_how_the_next_is_scored(spirals):
    example = spirals.examples("train", 1)[0]
    patch = "[setattr(type(self), 'score_answer', lambda *a: 1.0)]"
    assert [reward.total for reward in judged(spirals, example, patch, "1 2 3")] == [0.0, 0.0]


@pytest.mark.slow
def test_what_does_not_end_is_ended(spirals):
    (reward,) = judged(spirals, spirals.examples("train", 1)[0], "[n for n in iter(int, 1)]")
    assert reward.total == 0.0
    assert reward.failure == "no score came of this answer"


def test_a_scorer_that_dies_is_started_again(sums):
    example = sums.examples("train", 1)[0]
    process = sums._scoring._process
    process.kill()
    process.wait()
    assert judged(sums, example, example.answer)[0].total == 1.0


def test_a_score_that_was_cut_off_is_never_the_next_ones(spirals, monkeypatch):
    """As when a clock strikes while a score is waited for."""
    example = spirals.examples("train", 1)[0]

    class Struck(Exception):
        pass

    def strike():
        raise Struck

    monkeypatch.setattr("deepseek_lab.tasks.gym_process.select", SimpleNamespace(poll=strike))
    with pytest.raises(Struck):
        judged(spirals, example, example.answer)
    monkeypatch.undo()
    assert [reward.total for reward in judged(spirals, example, "1 2 3", example.answer)] == [0.0, 1.0]


def test_a_machine_without_filters_refuses_and_names_the_way_without(monkeypatch):
    monkeypatch.setattr(ScoringProcess, "_asked", lambda self, line: {"failed": "no system-call filter for sparc"})
    with pytest.raises(ConfigError, match=r"no system-call filter for sparc.*scoring=unsafe"):
        ReasoningGym.Config().build()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"dataset": "chain_sums"}, "none of reasoning-gym's: 'chain_sums'; did you mean 'chain_sum'"),
        ({"options": {"terms": 3}}, "options do not fit chain_sum"),
        ({"options": {"min_terms": 9}}, "options do not fit chain_sum"),
        ({"size": 0}, "size must be at least 1"),
    ],
)
def test_bad_values(values, why):
    with pytest.raises(ConfigError, match=why):
        ReasoningGym.Config(**values).build()


def test_too_few_items_and_other_tasks_questions_are_named(sums):
    with pytest.raises(ConfigError, match=r"task.size = 10000 holds only \d+ test questions, not 9000"):
        sums.examples("test", 9000)
    with pytest.raises(ValueError, match="no question of chain_sum: '1"):
        sums.rewards([Example(question="1 + 1 = ?", answer="2")], ["<answer>2</answer>"])
