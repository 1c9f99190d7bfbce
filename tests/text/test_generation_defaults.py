"""How a published model wants to be sampled, as its files say it."""

import json

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.text.generation_defaults import GenerationDefaults, generation_beside


def beside(folder, generation=None, config=None):
    for name, content in (("generation_config.json", generation), ("config.json", config)):
        if content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return generation_beside(folder)


def test_nothing_is_known_without_files(tmp_path):
    assert beside(tmp_path) == GenerationDefaults()


@pytest.mark.parametrize(
    ("generation", "config", "ends"),
    [
        ({"eos_token_id": 1}, None, {1}),
        ({"eos_token_id": [1, 2]}, {"eos_token_id": 3}, {1, 2, 3}),
        (None, {"eos_token_id": [5, 6]}, {5, 6}),
        ({"eos_token_id": None}, {}, set()),
    ],
)
def test_every_end_that_a_file_names_ends(tmp_path, generation, config, ends):
    assert beside(tmp_path, generation, config).end_ids == ends


@pytest.mark.parametrize(
    ("values", "sampling", "unused"),
    [
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95}, {"temperature": 0.6, "top_p": 0.95}, []),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}, []),
        ({"top_k": 0, "repetition_penalty": 1.1}, {"top_k": None, "repetition_penalty": 1.1}, []),
        ({"num_beams": 1, "max_length": 20, "_from_model_config": True, "length_penalty": None}, {}, []),
        ({"num_beams": 4, "no_repeat_ngram_size": 3, "temperature": None}, {}, ["no_repeat_ngram_size", "num_beams"]),
    ],
)
def test_what_is_stated_and_what_nobody_reads(tmp_path, values, sampling, unused):
    found = beside(tmp_path, values)
    assert found.sampling == sampling
    assert found.unused == unused


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ({"eos_token_id": ["x"]}, "eos_token_id holds 'x', which is no token"),
        ({"eos_token_id": True}, "eos_token_id holds 'True', which is no token"),
        ({"temperature": "hot"}, "temperature is 'hot', not a number"),
        ({"top_k": 1.5}, "top_k is '1.5', not an integer"),
        ({"temperature": -1}, "temperature is '-1', not a number"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, values, problem):
    with pytest.raises(DataError, match=problem) as refusal:
        beside(tmp_path, values)
    assert "generation_config.json" in str(refusal.value)
