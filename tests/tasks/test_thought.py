"""Where a thought stands, and which completions keep the form of R1-Zero."""

import pytest

from deepseek_lab.tasks.thought import keeps_form, thought_lines, thought_span


@pytest.mark.parametrize(
    "completion",
    [
        "<think>a</think><answer>4</answer>",
        " <think>\na\nb\n</think>\n\n<answer> 4 </answer>\n",
        "<think>first <answer>3</answer>, no</think><answer>4</answer>",
    ],
)
def test_the_form(completion):
    assert keeps_form(completion)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "<answer>4</answer>",
        "a</think><answer>4</answer>",
        "<think>a<answer>4</answer>",
        "<think>a</think>",
        "<think>a</think>4",
        "<think>a</think><answer></answer>",
        "<think>a</think><answer>4",
        "<think>a</think><answer>4</answer> and more",
        "<think>a</think> so <answer>4</answer>",
        "so <think>a</think><answer>4</answer>",
        "<answer>4</answer><think>a</think>",
        "<think>a<answer>4</answer></think>",
        "<think><think>a</think><answer>4</answer>",
        "<think>a</think></think><answer>4</answer>",
        "<think>a</think><answer>4</answer><answer>4</answer>",
        "<think>a</think></answer>4<answer>",
    ],
)
def test_anything_else(completion):
    assert not keeps_form(completion)


@pytest.mark.parametrize(
    ("completion", "thought"),
    [
        ("<think>1+1=2</think><answer>2</answer>", "1+1=2"),
        ("1+1=2</think><answer>2</answer>", "1+1=2"),
        ("<think>1+1=2\n2+", "1+1=2\n2+"),
        ("<think>1+1=<answer>3</answer>2</think><answer>2</answer>", "1+1=<answer>3</answer>2"),
        ("1+1=2<answer>2</answer>", "1+1=2"),
        ("<answer>2</answer>", ""),
        ("", ""),
    ],
)
def test_the_thought_wherever_it_ends(completion, thought):
    start, end = thought_span(completion)
    assert completion[start:end] == thought


def test_lines_and_where_they_end():
    completion = " <think>1+1=2\n\n  so  \n</think><answer>2</answer>"
    lines = list(thought_lines(completion))
    assert [line.text for line in lines] == ["1+1=2", "so"]
    assert completion[: lines[0].end].endswith("1+1=2")
    assert completion[: lines[1].end].endswith("  so  ")
