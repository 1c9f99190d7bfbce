"""Questions as data: which are asked is a pure function of (seed, iteration)."""

from dataclasses import replace

import numpy as np
import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.question_prompt import QuestionPrompt
from tests.text.test_published_files import CHATML_TOKENS, published
from tiny_policy import prompt_data


def test_epochs_ask_every_question_once():
    data = prompt_data(batch_size=3)
    epochs = [np.concatenate([data.asked(4 * epoch + i) for i in range(4)]) for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert data.asked(5).tolist() == prompt_data(batch_size=3).asked(5).tolist()
    assert data.asked(0).tolist() != prompt_data(seed=2, batch_size=3).asked(0).tolist()


def test_ranks_share_the_questions_of_an_iteration():
    data = prompt_data(batch_size=4)
    parts = [data.asked(1, rank, 2).tolist() for rank in range(2)]
    assert [*parts[0], *parts[1]] == data.asked(1).tolist()


def test_other_questions_differ_by_iteration_and_round():
    data = prompt_data(batch_size=6)
    drawn = [data.asked_instead(iteration, again).tolist() for iteration in range(2) for again in (1, 2)]
    assert len({tuple(row) for row in drawn}) == 4
    assert all(len(set(row)) == 6 for row in drawn)
    assert data.asked_instead(0, 1).tolist() == drawn[0]


def test_the_manifest_names_questions_prompt_and_tokenizer():
    first = prompt_data().manifest["hash"]
    assert prompt_data().manifest["hash"] == first
    assert prompt_data(questions=11).manifest["hash"] != first
    assert prompt_data(validation_questions=2).manifest["hash"] != first


def test_more_questions_an_iteration_than_there_are():
    with pytest.raises(ConfigError, match="more than the 12 questions"):
        prompt_data(batch_size=13)


def test_questions_are_put_in_the_template_that_came_with_the_model(tmp_path):
    """Training, preflight and validation put them as evaluation does; the manifest tells templates apart."""
    hashes = set()
    for template in (
        None,
        "{{ messages[0].content }}?<|im_start|>",
        "{% for m in messages %}{{ m.content }}!{% endfor %}",
    ):
        given = {} if template is None else {"chat_template": template}
        tokenizer = published(tmp_path, CHATML_TOKENS, eos_token="<|im_end|>", **given)
        plain = prompt_data()
        config = replace(plain.config, prompt=QuestionPrompt.Config(chat=True))
        data = PromptData(config, plain.task, tokenizer, seed=1)
        question = data.held_out[0].question
        asked = Chat(tokenizer, template).encode([Message(role="user", content=question)])
        assert data.sample_prompt() == asked
        hashes.add(data.manifest["hash"])
    assert len(hashes) == 3
