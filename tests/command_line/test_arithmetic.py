"""Two sums in a config, and what becomes of values they are not made for."""

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line import register_resolvers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${quotient:1024,64}", 16),
        ("${quotient:1024,${length}}", 8),
        ("${quotient:100,64}", "100 / 64"),
        ("${quotient:100,0}", "100 / 0"),
        ("${quotient:many,4}", "many / 4"),
        ("${rest:0.7}", 0.3),
        ("${rest:0.7,0.2}", 0.1),
        ("${rest:1}", 0.0),
        ("${rest:some}", "1 - some"),
    ],
)
def test_a_sum_is_a_number_or_says_what_was_asked(text, value):
    register_resolvers()
    assert OmegaConf.create({"length": 128, "value": text}).value == value
