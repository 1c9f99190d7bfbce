"""The answer's parser on what a network may write."""

import time

import pytest

from deepseek_lab.tasks.answers import LONGEST, NoAnswer, answer_in, whole_number


def test_one_answer_is_read_without_the_space_around_it():
    assert answer_in("<think>4? 5?</think> so <answer> 42\n</answer>.") == "42"
    assert answer_in("<answer></answer>") == ""


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("", "no <answer>"),
        ("42", "no <answer>"),
        ("<ANSWER>42</ANSWER>", "no <answer>"),
        ("<answer>42", "1 <answer> and 0 </answer>"),
        ("42</answer>", "0 <answer> and 1 </answer>"),
        ("<answer>41</answer><answer>42</answer>", "2 <answer> and 2 </answer>"),
        ("<answer><answer>42</answer></answer>", "2 <answer> and 2 </answer>"),
        ("</answer>42<answer>", "before"),
        (f"<answer>{'4' * (LONGEST + 1)}</answer>", "more than 100 characters"),
    ],
)
def test_anything_else_is_none_and_says_why(completion, why):
    with pytest.raises(NoAnswer, match=why):
        answer_in(completion)


@pytest.mark.parametrize(("text", "number"), [("42", 42), ("-7", -7), ("+007", 7), ("0", 0)])
def test_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "4 2", "4.0", "1e3", "0x2a", "٤٢", "４２", "--4", "1_000", "__import__('os')", "4\n", "9" * 5000, "½"]
)
def test_what_is_no_plain_number(text):
    with pytest.raises(NoAnswer):
        whole_number(text)


def test_hostile_lengths_take_no_time():
    start = time.monotonic()
    for hostile in ("<answer>" * 200_000, "(" * 1_000_000, "<answer>" + "\n" * 1_000_000 + "</answer>"):
        with pytest.raises(NoAnswer):
            answer_in(hostile)
    assert time.monotonic() - start < 5
