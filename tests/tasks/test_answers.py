"""The answer's parser on what a network may write."""

import time
from fractions import Fraction

import pytest

from deepseek_lab.tasks.answers import LONGEST, NoAnswer, answer_in, answer_or_box, quantity, whole_number


def test_one_answer_is_read_without_the_space_around_it():
    assert answer_in("<think>4? 5?</think> so <answer> 42\n</answer>.") == "42"
    assert answer_in("<answer></answer>") == ""
    assert answer_in("<think>a draft: <answer>41</answer> no, </answer></think><answer>42</answer>") == "42"
    assert answer_in("a draft: <answer>41</answer></think><answer>42</answer>") == "42"


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
        ("<think>so <answer>42</answer></think>", "no <answer>"),
        ("<think>so <answer>4</think>2</answer>", "0 <answer> and 1 </answer>"),
        (f"<answer>{'4' * (LONGEST + 1)}</answer>", "more than 100 characters"),
    ],
)
def test_anything_else_is_none_and_says_why(completion, why):
    with pytest.raises(NoAnswer, match=why):
        answer_in(completion)


@pytest.mark.parametrize(
    ("text", "number"), [("42", 42), ("-7", -7), ("+007", 7), ("0", 0), ("\N{MINUS SIGN}3", -3), ("42.", 42)]
)
def test_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-.",
        "42..",
        "\N{EN DASH}3",
        "\N{MINUS SIGN}-3",
        "4 2",
        "4.0",
        "1e3",
        "0x2a",
        "٤٢",
        "４２",
        "--4",
        "1_000",
        "__import__('os')",
        "4\n",
        "9" * 5000,
        "½",
    ],
)
def test_what_is_no_plain_number(text):
    with pytest.raises(NoAnswer):
        whole_number(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("72", "72"), ("\N{MINUS SIGN}72", "-72"), ("+72", "72"), ("72.", "72"), ("72.50", "72.5"), (".5", "0.5")),
        *(
            ("$72", "72"),
            ("-$72", "-72"),
            ("$-72", "-72"),
            ("$1,200.50", "1200.5"),
            ("72€", "72"),
            ("$ 72", "72"),
            ("72 $", "72"),
        ),
        *(("72 clips", "72"), ("72 clips.", "72"), ("72 clips per day", "72"), ("60 km/h", "60"), ("72cm", "72")),
        *(("9 cm^2", "9"), ("9 m²", "9"), ("60%", "60"), ("60 %", "60"), ("5 m", "5"), ("8 p.m.", None)),
        *(("1/2", "1/2"), ("-1/2", "-1/2"), ("1 1/2", "3/2"), ("-1 1/2", "-3/2"), ("3/4 of the cake", "3/4")),
        *((r"\boxed{72}", "72"), (r"\boxed{72\text{ clips}}", "72"), (r"\boxed{\frac{1}{2}}", "1/2"), (r"\$72", "72")),
        *(("$72$", "72"), (r"\(72\)", "72"), (r"$\boxed{72}$", "72"), (r"\boxed{1{,}200}", "1200"), (r"60\%", "60")),
        *(("", None), ("$", None), ("clips", None), ("1/0", None), ("1 1/0", None), ("1/2/3", None), ("72/", None)),
        *(
            ("72 thousand", None),
            ("72k", None),
            ("72m", None),
            ("$72 m", None),
            ("3 dozen", None),
            ("72 and a half", None),
        ),
        *(("72 or 73", None), ("72, 73", None), ("72 73", None), ("7,2", None), ("1,20", None), ("1,2345", None)),
        *(("72 minus one", None), ("72e3", None), ("72½", None), ("72²", None), ("72万", None), ("0x2A", None)),
        *(("4_2", None), ("--72", None), ("-$-72", None), ("7:30", None), ("x = 72", None), ("72" * 60, None)),
        *((r"\boxed{72", None), (r"\boxed{72} or so", None), (r"\boxed{}", None), ("72 <b>", None)),
    ],
)
def test_numbers_as_people_write_them(text, number):
    if number is None:
        with pytest.raises(NoAnswer):
            quantity(text)
    else:
        assert quantity(text) == Fraction(number)


def test_hostile_lengths_take_no_time():
    start = time.monotonic()
    for hostile in ("<answer>" * 200_000, "(" * 1_000_000, "<answer>" + "\n" * 1_000_000 + "</answer>"):
        with pytest.raises(NoAnswer):
            answer_in(hostile)
    for hostile in ("\\boxed{" * 200_000, "\\boxed{" + "{" * 1_000_000 + "}" * 1_000_001, "\\boxed{}" * 200_000):
        with pytest.raises(NoAnswer):
            quantity(answer_or_box(hostile))
    assert time.monotonic() - start < 5
