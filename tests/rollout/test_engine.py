"""From a policy to its experience: keyed draws, groups drawn again, tensors that say what was drawn."""

import math
import re

import numpy as np
import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.rollout.drawing import RolloutError
from deepseek_lab.rollout.engine import RolloutEngine
from tiny_policy import ROLLOUT, Letters, policy, policy_loss, prompt_data


def engine(kept=None, max_refills=0, seed=1, batch_size=3, **knobs):
    return RolloutEngine(RolloutConfig(**{**ROLLOUT, **knobs}), prompt_data(seed, batch_size), seed, kept, max_refills)


def test_the_same_iteration_is_drawn_again_to_the_bit_and_another_is_not():
    model = policy()
    drawn = engine()
    first, other = (drawn.collect(model, iteration) for iteration in (3, 4))
    again = engine().collect(model, 3)
    for name in ("tokens_BT1", "mask_BT", "logp_sampler_BT", "answer_B", "step_end_BS"):
        assert getattr(first, name).equal(getattr(again, name)), name
    assert not other.tokens_BT1.equal(first.tokens_BT1)
    assert not engine(seed=2).collect(model, 3).tokens_BT1.equal(first.tokens_BT1)


def test_the_experience_holds_what_was_said():
    drawn = engine()
    experience = drawn.collect(policy(), 0)
    groups = drawn.transcript
    assert experience.n_groups == 3
    assert experience.length_B.tolist() == [length for group in groups for length in group.lengths]
    rows = [(group, place) for group in groups for place in range(4)]
    for row, (group, place) in enumerate(rows):
        mask_T, ids = experience.mask_BT[row], list(group.completions[place].ids)
        assert experience.tokens_BT1[row, 1:][mask_T].tolist() == ids
        assert experience.tokens_BT1[row, : len(group.prompt)].tolist() == list(group.prompt)
        assert int(mask_T.nonzero()[0]) == len(group.prompt) - 1
        assert experience.answer_B[row] == Letters.verdict(group.said[place]).total
        assert experience.truncated_B[row] == (group.completions[place].finish_reason == "length")
    assert len({tuple(group.completions[0].ids) for group in groups}) == 3


def test_sampled_log_probabilities_are_those_of_the_policy():
    model = policy()
    experience = engine(temperature=0.7).collect(model, 0)
    with torch.no_grad():
        logits = model(experience.tokens_BT1[:, :-1]).logits / 0.7
    logp_BT = logits.log_softmax(-1).gather(2, experience.tokens_BT1[:, 1:, None]).squeeze(2)
    mask_BT = experience.mask_BT
    assert (logp_BT - experience.logp_sampler_BT)[mask_BT].abs().max() < 1e-4
    assert (experience.logp_sampler_BT[~mask_BT] == 0).all()


def test_steps_end_at_the_token_that_completes_them():
    drawn = engine()
    experience = drawn.collect(policy(), 0)
    for row, (group, place) in enumerate((group, place) for group in drawn.transcript for place in range(4)):
        values = experience.step_reward_BS[row]
        ends = experience.step_end_BS[row][~values.isnan()]
        text = group.said[place]
        said = [
            drawn.data.prompt.judged_text(drawn.data.chat, group.completions[place].ids[: end + 1], ())
            for end in (ends - len(group.prompt) + 1).tolist()
        ]
        assert [len(part) >= i + 1 for i, part in enumerate(said)] == [True] * len(text)
        assert experience.mask_BT[row][ends].all()


def test_the_form_is_apart_where_it_is_rewarded():
    assert engine().collect(policy(), 0).format_B is None
    experience = engine(rewards={"total": 1.0, "format": 0.5}).collect(policy(), 0)
    assert set(experience.format_B.tolist()) <= {0.0, 0.5}
    assert experience.parts["format"].equal(experience.format_B * 2)


def spread_at_least(least):
    """Keeps the groups whose best answer is worth that much more than the worst."""

    def kept(answer_B, size):
        groups = answer_B.view(-1, size)
        return groups.amax(1) - groups.amin(1) >= least

    return kept


def test_groups_without_spread_are_drawn_again():
    plain, picky = engine(), engine(spread_at_least(0.4), 20)
    experience = picky.collect(policy(), 0)
    assert experience.n_groups == 3
    assert all(max(group.answers) - min(group.answers) >= 0.4 for group in picky.transcript)
    plain.collect(policy(), 0)
    kept = [group for group in plain.transcript if max(group.answers) - min(group.answers) >= 0.4]
    assert picky.transcript[: len(kept)] == kept, "what has spread is kept as it was drawn first"
    rounds, dropped = experience.sums["sampling/refills"][0], experience.sums["sampling/groups_dropped"]
    assert rounds >= 1
    assert dropped[1] == 3 * (1 + rounds)
    assert experience.sums["completions/mean_length"][1] == 12 * (1 + rounds)


def test_the_cap_on_drawing_again_is_a_named_warning(capsys):
    experience = engine(spread_at_least(2.0), 2).collect(policy(), 4)
    assert experience.n_groups == 3, "without any spread the first round stays"
    assert experience.sums["sampling/refills"][0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: iteration 5: 0 of 3 groups have spread after 2 rounds")


def test_dynamic_sampling_of_a_preset_keeps_by_the_answer_alone():
    loss = policy_loss(dynamic_sampling=True)
    answer_B = torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert loss.kept_groups(answer_B, 2).tolist() == [False, True]


def test_the_curriculum_learns_and_leads():
    drawn = engine(curriculum="pass_rate")
    drawn.collect(policy(), 0)
    assert drawn.curriculum.seen.sum() == 12
    state = drawn.state_dict()
    other = engine(curriculum="pass_rate")
    other.load_state_dict(state)
    assert np.array_equal(other.curriculum.chances(), drawn.curriculum.chances())


def test_validation_asks_the_same_with_the_same_noise():
    model = policy()
    first, again = (engine().evaluate(model, 2) for _ in range(2))
    assert [group.said for group in first] == [group.said for group in again]
    halves = [engine().evaluate(model, 2, rank, 2) for rank in range(2)]
    assert sorted(g.example.question for half in halves for g in half) == sorted(g.example.question for g in first)


def test_unjudged_answers_are_no_number():
    class Silent(Letters):
        def rewards(self, examples, completions):
            raise RuntimeError("the judge is ill")

    data = prompt_data()
    data.task = Silent()
    config = RolloutConfig(**{**ROLLOUT, "rewards": {"total": 1.0}})
    experience = RolloutEngine(config, data, 1).collect(policy(), 0)
    assert experience.answer_B.isnan().all()
    assert experience.sums["sampling/failures"] == (12.0, 12.0)
    assert experience.sums["reward"] == (0.0, 0.0)


def test_what_does_not_fit_and_what_is_no_number():
    with pytest.raises(ConfigError, match="12 tokens of a question") as caught:
        engine(max_new_tokens=60)
    assert caught.value.field == "data.seq_len"
    assert re.search(r"\d+ of \d+ questions are too long, the first begins '", str(caught.value))
    broken = policy()
    broken.final_norm.weight.data.fill_(math.nan)
    with pytest.raises(RolloutError, match="iteration 1: logits"):
        engine().collect(broken, 0)
