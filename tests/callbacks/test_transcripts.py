"""What is shown of an iteration's answers."""

import json
from pathlib import Path

import pytest

from deepseek_lab.callbacks.transcripts import Transcripts, table
from tiny_policy import policy_stage
from tiny_run import rows, tiny_stage, tiny_trainer


def shown(folder: Path, **knobs):
    stage = policy_stage(**{"epochs": 2, "show_every": 2, **knobs})
    callbacks = [Transcripts(folder)]
    tiny_trainer(folder, max_steps=5, log_every=1, validate_every=9, callbacks=callbacks).fit(stage)
    return stage, [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]


def test_every_so_many_iterations_all_answers_with_what_became_of_them(tmp_path):
    _, found = shown(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 4]
    for row in found:
        answers = [answer for group in row["groups"] for answer in group["answers"]]
        assert len(answers) == 12
        assert sum(answer["loss_share"] for answer in answers) == pytest.approx(1)
        for group in row["groups"]:
            assert sum(answer["advantage"] for answer in group["answers"]) == pytest.approx(0, abs=1e-4)
        best = max(answers, key=lambda answer: answer["reward"])
        assert best["advantage"] > 0
        assert set(best["parts"]) == {"correct", "format"}
        assert any(answer["ratio"] != 1 for answer in answers), "the second epoch is another policy"
    mean = sum(answer["reward"] for group in found[0]["groups"] for answer in group["answers"]) / 12
    assert mean == pytest.approx(rows(tmp_path)[0]["reward"])


def test_the_clip_shows(tmp_path):
    _, found = shown(tmp_path, loss={"clip_low": 1e-6, "clip_high": 1e-6}, epochs=3)
    answers = [answer for group in found[0]["groups"] for answer in group["answers"]]
    assert any(answer["clipped"] > 0 for answer in answers)


def test_the_table_has_a_line_an_answer(tmp_path):
    _, found = shown(tmp_path)
    group = found[0]["groups"][0]
    group["answers"][0]["said"] = "x" * 200 + "\nend"
    group["answers"][1]["reward"] = None
    lines = table(group).splitlines()
    assert len(lines) == 2 + 4
    assert "(right: b)" in lines[0]
    assert lines[1].split() == ["reward", "correct", "format", "advantage", "ratio", "clipped", "loss_share", "said"]
    assert lines[2].endswith("⏎end")
    assert len(lines[2]) < 200
    assert "–" in lines[3]


def test_a_stage_that_draws_nothing_writes_nothing(tmp_path):
    tiny_trainer(tmp_path, max_steps=1, callbacks=[Transcripts(tmp_path)]).fit(tiny_stage())
    assert not (tmp_path / "completions.jsonl").exists()
