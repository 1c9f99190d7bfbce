"""A model that thinks because its template says so, as R1 does: thought and answer stand apart wherever it is asked.

Its network is a table: each token is followed by one other, so that it says the same behind every prompt. It is asked
as it was published, as a run, and as the folder made of that run.
"""

import io
import json
import runpy
import shutil
import sys
from itertools import pairwise

import pytest
import torch
import transformers
from openai import OpenAI

from serving.live import ROOT, LiveServer
from tests.experiment.test_published import script
from tests.published_folders import theirs_of, write
from tests.text.test_published_files import published
from tests.text.test_published_templates import R1

CONTROL = dict.fromkeys(
    ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"), True
)
THOUGHT, ANSWER = "two+2", "IS4"
WIDTH = 264


def scripted(folder):
    """The published folder: behind `<think>` and a line break comes the thought, its end, and the answer."""
    folder.mkdir()
    sizes = {"vocab_size": WIDTH, "hidden_size": WIDTH, "num_hidden_layers": 1, "max_position_embeddings": 512}
    model = theirs_of("llama", **sizes, eos_token_id=257, bos_token_id=256)
    tokenizer = published(
        folder, CONTROL, bos_token="<｜begin▁of▁sentence｜>", eos_token="<｜end▁of▁sentence｜>", chat_template=R1
    )
    close = tokenizer.special_ids["</think>"]
    said = [*tokenizer.encode("\n"), *tokenizer.encode(THOUGHT), close, *tokenizer.encode(ANSWER), tokenizer.eos_id]
    assert len(set(said)) == len(said)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(WIDTH))
        model.model.norm.weight.fill_(1.0)
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for token, following in pairwise(said):
            model.lm_head.weight[following, token] = 10.0
    write(model, folder)
    return folder


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The folder as it was published, the run made of it, and the folder made of that."""
    place = tmp_path_factory.mktemp("thinks")
    found = {"published": scripted(place / "published")}
    for before, name in (("published", "run"), ("run", "back")):
        assert script("convert", f"checkpoint={found[before]}", f"out={place / name}") == 0
        found[name] = place / name
    return found


@pytest.fixture(params=["published", "run", "back"])
def form(forms, request):
    return forms[request.param]


def generated(monkeypatch, capsys, form, *words, typed=""):
    monkeypatch.setattr(sys, "argv", ["generate.py", f"checkpoint={form}", "temperature=0", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "generate.py"), run_name="__main__")
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_in_the_terminal(form, monkeypatch, capsys):
    said = generated(monkeypatch, capsys, form, "chat=true", typed="a\nb\nc\n")
    turns = said.split("(thought)\n")[1:]
    assert len(turns) == 3
    for turn in turns:
        thought, _, answer = turn.partition("(answer)\n")
        assert (thought.strip(), answer.strip()) == (THOUGHT, ANSWER), said


def test_of_a_file_and_outside_of_a_conversation(form, monkeypatch, capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    said = generated(monkeypatch, capsys, form, f"prompts={tmp_path / 'a.jsonl'}", "format=jsonl")
    (completion,) = json.loads(said)["completions"]
    assert (completion["reasoning"], completion["text"]) == (THOUGHT, ANSWER)
    raw = generated(monkeypatch, capsys, form, "prompt=\n", "stream=false")
    assert raw == f"\n{THOUGHT}</think>{ANSWER}\n"
    assert generated(monkeypatch, capsys, form, "prompt=\n", "stop=['</think>']") == f"\n{THOUGHT}\n"


@pytest.fixture(scope="module", params=["published", "back"])
def served(forms, request):
    made = LiveServer(forms[request.param], "temperature=0")
    yield made, forms["published"]
    log = made.close()
    assert "Traceback" not in log, log


def test_over_the_api_for_three_turns(served):
    """Whatever way a client hands the answer back, the prompt is that of transformers: old thoughts are not sent."""
    server, folder = served
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
    ways = (
        lambda message: {"role": "assistant", "content": message.content},
        lambda message: {
            "role": "assistant",
            "content": f"<think>\n{THOUGHT}\n</think>{message.content}",
        },
        lambda message: message.model_dump(),
    )
    for back in ways:
        history = []
        for question in ("a", "b", "c"):
            history.append({"role": "user", "content": question})
            answer = client.chat.completions.create(model=server.name, messages=history)
            message = answer.choices[0].message
            assert (message.reasoning_content, message.content) == (THOUGHT, ANSWER)
            plain = [{"role": turn["role"], "content": turn["content"]} for turn in history]
            wanted = theirs.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
            assert answer.usage.prompt_tokens == len(wanted)
            history.append(back(message))


def test_on_the_page(served, chromium):
    server, _ = served
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(server.url)
        tab.get_by_role("heading", name=server.name).wait_for()
        for number, question in enumerate("abc", start=1):
            tab.fill("#text", question)
            tab.press("#text", "Enter")
            tab.wait_for_selector("#send", state="visible")
            assert tab.locator(".turn.assistant").count() == number
        assert [text.strip() for text in tab.locator(".turn.assistant > div").all_inner_texts()] == [ANSWER] * 3
        thoughts = [text.split("\n")[-1].strip() for text in tab.locator(".turn.assistant details").all_text_contents()]
        assert all(THOUGHT in thought and ANSWER not in thought for thought in thoughts), thoughts
        browser.close()


@pytest.mark.parametrize(
    ("template", "problem"),
    [("{% unknown %}", "Encountered unknown tag"), ("{{ raise_exception('no chats') }}", "no chats")],
)
def test_a_template_that_cannot_be_rendered_is_said_at_the_start(
    forms, tmp_path, monkeypatch, capsys, template, problem
):
    shutil.copytree(forms["published"], tmp_path / "broken")
    (tmp_path / "broken" / "chat_template.jinja").write_text(template)
    monkeypatch.setattr(sys, "argv", ["serve.py", f"checkpoint={tmp_path / 'broken'}", "port=0"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "serve.py"), run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith(f"error: broken: the chat template: {problem}")
