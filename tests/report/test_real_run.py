"""A run that was really trained can be read: the writers and the report mean the same names."""

from deepseek_lab.callbacks.summary import Summary, mark_done
from deepseek_lab.report.runs import read_run
from tiny_run import tiny_stage, tiny_trainer


def test_a_trained_run_is_read(tmp_path, runs):
    facts = runs.summary("mha", 1, 2.2, None, ())
    measured = {"steps", "tokens", "seconds", "tokens_per_second", "metrics"}
    summary = Summary(tmp_path, {name: value for name, value in facts.items() if name not in measured})
    stage = tiny_stage()
    tiny_trainer(tmp_path, max_steps=10, callbacks=[summary]).fit(stage)
    mark_done(tmp_path)
    run = read_run(tmp_path)
    assert [point.step for point in run.curve] == [5, 10]
    assert run.bits_per_byte == run.curve[-1].bits_per_byte
    assert (run.steps, run.tokens) == (10, stage.tokens_seen)
    assert run.tokens_per_second is not None
    assert run.curve[0].tokens < run.curve[-1].tokens == run.tokens
