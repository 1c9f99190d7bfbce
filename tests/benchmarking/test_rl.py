"""The benchmark of a GRPO step: turns, our side, and the table."""

import threading
import time

from lightning.pytorch import Callback, Trainer

from deepseek_lab.benchmarking.rl import OURS, THEIRS, Turns, table
from deepseek_lab.benchmarking.rl_contestants import GROUP, NEW, PROMPTS, our_network, our_stage


def test_two_loops_take_turns_and_only_their_own_steps_are_timed():
    order, turns = [], Turns(lambda line: None)

    def loop(who):
        for _ in range(3):
            turns.begin(who)
            order.append(who)
            time.sleep(0.02 if who == THEIRS else 0.0)
            turns.end(who)

    other = threading.Thread(target=loop, args=(THEIRS,))
    other.start()
    loop(OURS)
    other.join()
    assert order == [OURS, THEIRS] * 3
    assert min(turns.seconds[THEIRS]) > max(turns.seconds[OURS])


class Sizes(Callback):
    """Keeps how long the answers are."""

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.lengths = [length for group in pl_module.rollout.transcript for length in group.lengths]


def test_our_side_draws_answers_of_one_length_and_learns(monkeypatch):
    monkeypatch.setattr("deepseek_lab.benchmarking.rl_contestants.copy_weights", lambda theirs, ours: None)
    stage, sizes = our_stage(4, our_network(4)), Sizes()
    before = stage.model.head.weight.clone()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", max_steps=1, limit_val_batches=0, enable_model_summary=False, callbacks=[sizes], **quiet
    )
    trainer.fit(stage)
    assert sizes.lengths == [NEW] * PROMPTS * GROUP
    assert not stage.model.head.weight.equal(before)


def test_the_table_has_a_line_a_row():
    result = {"row": "prompt16", "seconds": {OURS: [1.0, 2.0, 3.0], THEIRS: [4.0, 4.0, 4.0]}, "ratios": [4.0, 2.0, 1.3]}
    assert table([result, result]).row_count == 2
