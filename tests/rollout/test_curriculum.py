"""Which difficulty is asked about."""

import numpy as np

from deepseek_lab.rollout.curriculum import Curriculum
from deepseek_lab.tasks.task import Example

EXAMPLES = [Example(question=str(i), answer="", difficulty=i % 3) for i in range(60)]


def taught():
    curriculum = Curriculum(EXAMPLES, seed=1)
    news = [(EXAMPLES[0], 64, 64), (EXAMPLES[1], 32, 64), (EXAMPLES[2], 0, 64)]
    curriculum.learn(news, None)
    return curriculum


def test_what_is_solved_half_of_the_time_is_asked_most():
    easy, half, hard = taught().chances()
    assert half > 4 * max(easy, hard)
    assert min(easy, hard) > 0.01
    assert Curriculum(EXAMPLES, seed=1).chances().tolist() == [1 / 3] * 3


def test_the_choice_follows_the_chances_and_repeats_itself():
    curriculum = taught()
    level_N = np.concatenate([curriculum.chosen(i, 0, 10, 0) for i in range(200)]) % 3
    share_L = np.bincount(level_N) / len(level_N)
    assert np.abs(share_L - curriculum.chances()).max() < 0.05
    assert curriculum.chosen(3, 0, 10, 0).tolist() == taught().chosen(3, 0, 10, 0).tolist()
    assert curriculum.chosen(3, 0, 10, 0).tolist() != curriculum.chosen(3, 1, 10, 0).tolist()


def test_questions_of_one_choice_differ_even_where_a_level_is_short():
    for iteration in range(20):
        places = taught().chosen(iteration, 0, 50, 0)
        assert len(set(places.tolist())) == 50


def test_the_state_goes_on():
    curriculum, other = taught(), Curriculum(EXAMPLES, seed=1)
    other.load_state_dict(curriculum.state_dict())
    assert other.chances().tolist() == curriculum.chances().tolist()


def test_what_was_seen_long_ago_fades():
    curriculum = taught()
    for _ in range(40):
        curriculum.learn([(EXAMPLES[0], 0, 64)], None)
    assert curriculum.pass_rates[0] < 0.05
