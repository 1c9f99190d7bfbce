"""Before reinforcement learning: what is asked, what the figures are, what they are said to mean, how it is typed."""

import json
import runpy
import sys
from dataclasses import replace

import pytest

from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.experiment.preflight_modes import Attempted, attempted, direct, thinking
from deepseek_lab.experiment.preflight_verdict import verdict
from deepseek_lab.generation import Completion
from deepseek_lab.rollout.group import Group
from deepseek_lab.tasks.task import Example, Reward
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from serving.live import ROOT
from talking_run import TOKENIZER
from tests.experiment.test_training import command

CHAT = Chat(TOKENIZER)
GOOD = Attempted(
    k=8,
    pass_1=0.5,
    pass_1_interval=(0.4, 0.6),
    pass_k=0.9,
    pass_k_interval=(0.8, 1.0),
    no_spread=0.3,
    unread=0.1,
    cut_off=0.05,
    thinks=0.5,
    length=40,
)


def judged(asked=GOOD, think=0.6, without=0.25):
    return verdict(asked, replace(GOOD, pass_1=think), replace(GOOD, pass_1=without), 64)


@pytest.mark.parametrize(
    ("asked", "think", "without", "word", "said"),
    [
        (GOOD, 0.6, 0.25, "go", "0.70 of groups have spread"),
        (replace(GOOD, no_spread=0.97, pass_1=0.01), 0.6, 0.25, "stop",
         "0.97 of groups have no spread: nothing to learn from; try SFT first, or easier questions"),
        (replace(GOOD, no_spread=0.97, pass_1=0.99), 0.99, 0.5, "stop", "nothing is left to learn"),
        (replace(GOOD, cut_off=0.4), 0.6, 0.25, "doubtful", "0.40 of answers are cut off at rollout.max_new_tokens=64"),
        (replace(GOOD, unread=0.7), 0.6, 0.25, "doubtful", "0.70 of answers hold none that can be read"),
        (GOOD, 0.2, 0.05, "doubtful", "thinking does not pay yet: pass@1 is 0.20 with a thought and 0.05 without"),
        (GOOD, 0.45, 0.4, "doubtful", "thinking does not pay yet"),
        (GOOD, 0.7, 0.4, "go", ""),
        (replace(GOOD, pass_1=0.04), 0.6, 0.16, "doubtful", "0.04 as asked and 0.16 at least once"),
        (replace(GOOD, pass_k=0.55), 0.6, 0.25, "doubtful", "pass@8 is 0.55, little more than pass@1, 0.50"),
    ],
)  # fmt: skip
def test_what_the_figures_mean(asked, think, without, word, said):
    found = judged(asked, think, without)
    assert found.word == word
    assert said in found.reasons[0]


def test_all_doubts_are_named_the_gravest_first():
    found = judged(replace(GOOD, no_spread=1.0, pass_1=0.0, unread=1.0, cut_off=1.0), 0.0, 0.0)
    assert [reason.split()[1] for reason in found.reasons] == ["of", "of", "of", "does"]
    assert "spread" in found.reasons[0]


def group(right, cut=()):
    said = [f"<think>a</think><answer>{int(good)}</answer>" if good else "<answer>" for good in right]
    return Group(
        example=Example(question="q", answer="1"),
        prompt=(1,),
        completions=[
            Completion(ids=[1] * (i + 1), logprobs=[0.0] * (i + 1), finish_reason="length" if i in cut else "stop")
            for i in range(len(right))
        ],
        said=said,
        verdicts=[Reward(total=float(good), parts={"correct": float(good)}) for good in right],
        answers=[float(good) for good in right],
        forms=[None] * len(right),
    )


def test_figures_of_known_answers():
    groups = [group([True, False, False, False], cut=[3]), group([False] * 4), group([True] * 4)]
    found = attempted(groups, [None, "1", "1", "1"])
    assert found.pass_1 == pytest.approx((0.25 + 0 + 1) / 3)
    assert found.pass_k == pytest.approx(2 / 3)
    assert found.no_spread == pytest.approx(2 / 3)
    assert found.cut_off == pytest.approx(1 / 12)
    assert found.thinks == pytest.approx(5 / 12)
    assert found.unread == 0.25
    assert found.length == 2.5
    assert found.pass_1_interval[0] < found.pass_1 < found.pass_1_interval[1]


def decoded(prompt):
    return TOKENIZER.decode(prompt.encode(CHAT, "1 + 1"))


@pytest.mark.parametrize(
    ("config", "behind_thought", "behind_answer"),
    [
        ({"prompt": "{question}\n"}, "1 + 1\n<think>", "1 + 1\n<answer>"),
        ({"prompt": "{question} <think>"}, "1 + 1 <think>", "1 + 1 <answer>"),
        ({"chat": True}, "<｜User｜>1 + 1<｜Assistant｜><think>\n", "<｜User｜>1 + 1<｜Assistant｜><answer>"),
        ({"chat": True, "thinking": True}, "1 + 1<｜Assistant｜><think>\n", "1 + 1<｜Assistant｜><answer>"),
    ],
)
def test_answers_are_begun_and_judged_as_a_whole(config, behind_thought, behind_answer):
    asked = QuestionPrompt.Config(**config)
    assert decoded(thinking(asked, CHAT)).endswith(behind_thought)
    assert decoded(direct(asked)).endswith(behind_answer)
    ids = TOKENIZER.encode("2</answer>")
    assert direct(asked).judged_text(CHAT, ids, ()) == "<answer>2</answer>"
    assert thinking(asked, CHAT).judged_text(CHAT, TOKENIZER.encode("so</think>"), ()) == "<think>so</think>"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    (folder / "texts").mkdir()
    for number in range(40):
        (folder / "texts" / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    words = [
        *("model.dim=16", "model.n_layers=2", "model.vocab_size=300", "model.n_heads=2", "tokenizer=bytes"),
        *("attention=mla", "data.batch_size=2", "data.seq_len=32", "trainer.validation_batches=1"),
        *("trainer.max_steps=2", "trainer.validate_every=2", "trainer.n_threads=1"),
        *(f"paths.logs={folder}", f"paths.cache={folder / 'cache'}", f"data.corpus.folder={folder / 'texts'}"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        code, lines = command(words, patch, _Quiet())
        assert (code, lines) == (0, [])
    (run,) = (folder / "pretrain" / "runs").iterdir()
    return run


class _Quiet:
    """Stands for pytest's capsys where a fixture of a module runs."""

    def readouterr(self):
        return type("Captured", (), {"err": ""})


def preflight(run, *overrides):
    sys.argv = ["preflight.py", f"checkpoint={run}", "accelerator=cpu", "n_threads=1", *overrides]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "preflight.py"), run_name="__main__")
    return stop.value.code


def test_from_a_run_to_a_verdict(base, capsys):
    before = sorted(base.rglob("*"))
    words = ["task=countdown", "task.max_number=9", "questions=3", "batch_size=2", "rollout.max_new_tokens=8"]
    assert preflight(base, *words, "rollout.group_size=4") == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert figures["verdict"] == "stop"
    assert figures["asked"]["k"] == 4
    assert figures["step"]["seconds"] > 0
    assert figures["step"]["memory"] > 2**20
    assert "nothing to learn from; try SFT first" in printed.err
    assert "an iteration takes" in printed.err
    assert sorted(base.rglob("*")) == before, "nothing is written into the run"


def test_without_timing_and_what_is_refused(base, capsys):
    assert preflight(base, "questions=2", "steps=0", "rollout.max_new_tokens=4") == 0
    assert json.loads(capsys.readouterr().out)["step"] is None
    for words, said in (
        (["rollout.max_new_tokens=9999"], "rollout.max_new_tokens"),
        (["questions=0"], "questions must be an integer of at least 1"),
        (["split=all"], "split must be train, validation or test"),
        (["rollout.temperature=0.0"], "rollout.temperature"),
    ):
        assert preflight(base, *words) == 2
        assert said in capsys.readouterr().err


def test_the_template_of_r1_zero_holds_the_question_and_names_the_tags():
    with composer_of("preflight") as composer:
        prompt = composer.compose(["template=r1_zero", "checkpoint=x"]).template.prompt
    assert prompt.endswith("User: {question}. Assistant:")
    assert "\n" not in prompt
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert prompt.count(tag) == 2, "named, and shown at its place"
