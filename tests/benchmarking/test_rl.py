"""The benchmark of a GRPO step: our side, its workloads, and the table."""

import pytest
from lightning.pytorch import Callback

from deepseek_lab.benchmarking.rl import WORKLOADS, table
from deepseek_lab.benchmarking.rl_contestants import GROUP, NEW, PROMPTS, longest_of, our_stage
from deepseek_lab.benchmarking.small_networks import our_network
from deepseek_lab.benchmarking.turns import OURS, THEIRS, quiet_trainer


class Sizes(Callback):
    """Keeps how long the answers are."""

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.lengths = [length for group in pl_module.rollout.transcript for length in group.lengths]


@pytest.mark.parametrize("name", ["llama_natural", pytest.param("prompt16", marks=pytest.mark.slow)])
def test_our_side_draws_answers_of_one_length_and_learns(monkeypatch, name):
    monkeypatch.setattr("deepseek_lab.benchmarking.rl_contestants.copy_weights", lambda theirs, ours: None)
    work, sizes = WORKLOADS[name], Sizes()
    stage = our_stage(work.shape, work.questions, our_network(work.shape, longest_of(work.questions)))
    before = stage.model.head.weight.clone()
    quiet_trainer(1, [sizes]).fit(stage)
    assert sizes.lengths == [NEW] * PROMPTS * GROUP
    assert not stage.model.head.weight.equal(before)


def test_every_workload_has_eight_questions():
    assert {len(work.questions) for work in WORKLOADS.values()} == {PROMPTS}
    assert len(WORKLOADS["prompt128"].questions[0]) == 128


def test_the_table_has_a_line_a_row():
    seconds = {OURS: [1.0, 2.0, 3.0], THEIRS: [4.0, 4.0, 4.0]}
    result = {"row": "prompt16", "mean_prompt": 16.0, "seconds": seconds, "ratios": [4.0, 2.0], "cpu_ratios": [3.0]}
    assert table([result, result]).row_count == 2
