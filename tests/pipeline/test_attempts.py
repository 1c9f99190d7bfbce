"""The time of a step is that of all its attempts, also of one that was killed."""

import json
import os

import pytest

from deepseek_lab.pipeline import attempts
from deepseek_lab.sweep.job_process import LOG


def test_attempts_add_up_and_a_killed_one_ends_with_its_last_word(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(attempts.time, "time", lambda: now)
    attempts.begin(tmp_path)
    (tmp_path / LOG).write_text("step 1")
    os.utime(tmp_path / LOG, (1030.0, 1030.0))
    assert attempts.seconds(tmp_path) == pytest.approx(30.0)
    now = 2000.0
    attempts.begin(tmp_path)
    now = 2010.0
    attempts.end(tmp_path)
    assert attempts.seconds(tmp_path) == pytest.approx(40.0)
    assert attempts.count(tmp_path) == 2


@pytest.mark.parametrize("content", ["", "{}", "no json"])
def test_a_folder_without_attempts_took_no_time(tmp_path, content):
    assert attempts.seconds(tmp_path / "none") == 0
    (tmp_path / attempts.FILE).write_text(content)
    assert attempts.seconds(tmp_path) == 0
    attempts.end(tmp_path)
    attempts.begin(tmp_path)
    assert len(json.loads((tmp_path / attempts.FILE).read_text())) == 1
