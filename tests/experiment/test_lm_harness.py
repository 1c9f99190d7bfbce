"""Harness tasks over local files: the figures are those of a plain forward, the texts those of the engine."""

import json
import runpy
import sys

import pytest
import torch
import transformers

from deepseek_lab.experiment.finished import find_run
from deepseek_lab.generation import Engine, Request
from deepseek_lab.serving.speaker import Speaker
from deepseek_lab.text.chat import Chat
from serving.live import ROOT
from talking_run import TOKENIZER, talking_run
from tests.published_folders import theirs_of, write
from tests.text.test_published_files import published

pytest.importorskip("lm_eval")
from lm_eval.tasks import TaskManager

from deepseek_lab.experiment import lm_harness

QUESTIONS = [
    {"question": "one plus one is", "choices": [" two", " three", " eleven"], "answer": 0},
    {"question": "the sky looks", "choices": [" green", " blue"], "answer": 1},
    {"question": "a", "choices": ["b", "cd"], "answer": 0},
]
TASKS = {
    "local_choices": "output_type: multiple_choice\ndoc_to_choice: choices\nmetric_list: [{metric: acc}]",
    "local_texts": "output_type: loglikelihood_rolling\nmetric_list: [{metric: word_perplexity}]",
    "local_words": "output_type: generate_until\ngeneration_kwargs: {until: ['\\n'], max_gen_toks: 6}\n"
    "metric_list: [{metric: exact_match}]",
}
TARGETS = {"local_choices": "answer", "local_texts": "'{{question}}'", "local_words": "'two'"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run and the harness's files."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (folder / "tasks").mkdir()
    for name, rest in TASKS.items():
        context = "''" if name == "local_texts" else "'{{question}}'"
        (folder / "tasks" / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/questions.jsonl\n"
            f"test_split: test\ndoc_to_text: {context}\ndoc_to_target: {TARGETS[name]}\n{rest}\n"
        )
    talking_run(folder / "run")
    return folder


def evaluate(monkeypatch, place, *overrides):
    wish = [f"checkpoint={place / 'run'}", "what=lm_eval", f"lm_eval.include_path={place / 'tasks'}", *overrides]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *wish])
    monkeypatch.setattr(lm_harness, "TaskManager", own_tasks_only)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "evaluate.py"), run_name="__main__")
    return stop.value.code


def own_tasks_only(include_path):
    """Reading the thousands that the harness ships takes many seconds."""
    return TaskManager(include_path=include_path, include_defaults=False)


def logprob(model, context, said):
    ids = torch.tensor([[*context, *said]])
    with torch.no_grad():
        logp = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
    return float(logp[len(context) - 1 :].sum())


def test_figures_are_those_of_a_plain_forward(place, monkeypatch, capsys):
    assert evaluate(monkeypatch, place, "lm_eval.tasks=[local_choices,local_texts]", "lm_eval.batch_size=2") == 0
    printed = capsys.readouterr()
    found = json.loads((place / "run" / "eval_lm_eval.json").read_text())["lm_eval"]
    assert json.loads(printed.out)["lm_eval"] == found
    assert "local_choices" in printed.err
    model, right, total, words = find_run(str(place / "run")).model(torch.device("cpu")), 0, 0.0, 0
    for row in QUESTIONS:
        scores = [logprob(model, TOKENIZER.encode(row["question"]), TOKENIZER.encode(c)) for c in row["choices"]]
        right += scores.index(max(scores)) == row["answer"]
        total += logprob(model, [TOKENIZER.eos_id], TOKENIZER.encode(row["question"]))
        words += len(row["question"].split())
    assert found["local_choices"]["acc,none"] == pytest.approx(right / 3)
    expected = float(torch.tensor(-total / words).exp())
    assert found["local_texts"]["word_perplexity,none"] == pytest.approx(expected, rel=1e-4)


def test_texts_are_the_engines_up_to_the_stop(place):
    model = find_run(str(place / "run")).model(torch.device("cpu"))
    speaker = Speaker("run", TOKENIZER, Chat(TOKENIZER), Engine(model), model.config.max_seq_len)
    prompt = TOKENIZER.encode("one plus one is")
    ((whole,),) = Engine(model).run([Request(prompt=prompt, max_new_tokens=12, stop_ids=speaker.stop_ids)])
    text = TOKENIZER.decode(whole.ids, skip_special=True)

    class Asked:
        args = ("one plus one is", {"until": [text[3]], "max_gen_toks": 12})

    assert lm_harness.SpeakerLM(speaker, 2).generate_until([Asked()]) == [text[: text.index(text[3])]]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lm_eval.tasks=[]"], "lm_eval.tasks names the tasks to measure"),
        (["lm_eval.tasks=[local_choice]"], "did you mean 'local_choices'"),
        (["lm_eval.tasks=[local_texts]", "lm_eval.limit=0"], "lm_eval.limit must be at least 1"),
    ],
)
def test_bad_wishes_end_in_one_line(place, monkeypatch, capsys, overrides, words):
    assert evaluate(monkeypatch, place, *overrides) == 2
    assert words in capsys.readouterr().err


def test_behind_a_prefix_the_figures_are_those_of_lm_evals_own_model(tmp_path):
    """A tokenizer that puts a token of beginning before every text, and one that puts an end behind it too."""
    from lm_eval.models.huggingface import HFLM

    class Text:
        def __init__(self, *args):
            self.args = args

    texts = [Text("one plus one is two"), Text("a")]
    pairs = [Text("", " two"), Text("one plus one is", " two"), Text("a ", "b")]
    for form in ("<s> $A", "<s> $A </s>"):
        folder = tmp_path / str(len(form))
        folder.mkdir()
        theirs = theirs_of("llama", vocab_size=264, bos_token_id=256, eos_token_id=257)
        write(theirs, folder)
        published(folder, {"<s>": True, "</s>": True}, form, bos_token="<s>", eos_token="</s>")
        found = find_run(str(folder))
        speaker = Speaker(
            "it", found.tokenizer(), Chat(found.tokenizer()), Engine(found.model(torch.device("cpu"))), 64
        )
        ours = lm_harness.SpeakerLM(speaker, 2)
        own = transformers.AutoTokenizer.from_pretrained(folder)
        wanted = HFLM(pretrained=theirs, tokenizer=own, batch_size=2, max_length=64, add_bos_token=True)
        if "</s>" not in form:  # of which the harness's own scores the end, too
            assert ours.loglikelihood_rolling(texts) == pytest.approx(wanted.loglikelihood_rolling(texts), rel=1e-4)
            assert ours.loglikelihood(pairs) == [
                (pytest.approx(logprob, rel=1e-4), greedy) for logprob, greedy in wanted.loglikelihood(pairs)
            ]
        assert ours.prefix_token_id == wanted.prefix_token_id == 256
        assert ours.tok_encode("ab") == [256, *found.tokenizer().encode("ab")]
