"""The parts of a reward that all tasks of calculation share: `correct`, `format`, `language`, and the steps.

`total` is correctness alone; whoever trains weighs the parts.
"""

from collections.abc import Callable

from deepseek_lab.tasks.answers import CLOSE, NoAnswer, after_thought, answer_in
from deepseek_lab.tasks.equations import Steps, equation_share, step_values
from deepseek_lab.tasks.task import Reward
from deepseek_lab.tasks.thought import keeps_form


def verdict(
    completion: str,
    is_right: Callable[[str], bool],
    steps: Steps | None = None,
    read: Callable[[str], str] = answer_in,
) -> Reward:
    """`is_right` judges the text of the answer that `read` finds; both may raise NoAnswer with what is wrong with it.

    steps: how lines are judged; None where thoughts are no equations, then there is no part `language` either
    """
    failure = None
    try:
        right = is_right(read(completion))
    except NoAnswer as why:
        right, failure = False, str(why)
    parts = {"correct": float(right), "format": float(keeps_form(completion))}
    if steps is None:
        return Reward(total=float(right), parts=parts, failure=failure)
    values = step_values(completion, steps)
    if CLOSE in after_thought(completion):
        values.append((completion.rindex(CLOSE) + len(CLOSE), float(right)))
    parts["language"] = equation_share(completion)
    return Reward(total=float(right), parts=parts, steps=values, failure=failure)
