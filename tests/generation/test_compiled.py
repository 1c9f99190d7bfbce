"""The compiled step gives the tokens of the eager one, for one row, some and many, as rows come and go."""

import pytest
import torch

from deepseek_lab.generation import Engine, Request
from tests.generation.tiny_models import tiny_model

PROMPTS = [[3, 1, 4, 1, 5], [6], [5, 3, 5], [8, 9, 7, 9], [3, 2], [3, 8, 4], [1], [2, 7], [9, 9], [4, 1], [7, 7], [5]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gqa_dense", "mla_moe"])
def test_tokens_are_those_of_the_eager_engine(kind):
    model = tiny_model(kind)
    requests = [Request(prompt=prompt, max_new_tokens=2 + 3 * i) for i, prompt in enumerate(PROMPTS)]
    eager, compiled = Engine(model).run(requests), Engine(model, compile=True).run(requests)
    assert [c.ids for (c,) in compiled] == [c.ids for (c,) in eager]
    for (one,), (other,) in zip(compiled, eager, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0)


def test_drafts_and_a_compiled_step_are_refused_together():
    with pytest.raises(ValueError, match="one of the two"):
        Engine(tiny_model("mla_moe"), speculative_depth=1, compile=True)
