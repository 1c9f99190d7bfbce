"""A sweep ends with its report, unless it is told not to or there is nothing to report."""

import pytest
from omegaconf import OmegaConf

from deepseek_lab.config import DataError
from deepseek_lab.sweep.report_at_end import ReportAtEnd


@pytest.fixture
def ended(monkeypatch, tmp_path, capsys):
    """Ends a sweep in `tmp_path` whose report raises `error` -> the folders reported and what was said."""

    def end(wanted=True, error=None):
        folders = []

        def write_report(folder):
            folders.append(folder)
            if error:
                raise error

        monkeypatch.setattr("deepseek_lab.report.write_report", write_report)
        config = OmegaConf.create({"sweep_report": wanted, "hydra": {"sweep": {"dir": str(tmp_path)}}})
        ReportAtEnd().on_multirun_end(config, config_name="train")
        return folders, capsys.readouterr().err

    return end


def test_the_folder_of_the_sweep_is_reported(ended, tmp_path):
    assert ended() == ([tmp_path], "")
    assert ended(wanted=False) == ([], "")


def test_what_cannot_be_reported_is_one_line_and_a_fault_of_the_program_is_not_hidden(ended, tmp_path):
    assert ended(error=DataError("s: holds no run"))[1] == "warning: no report of this sweep: s: holds no run\n"
    with pytest.raises(ZeroDivisionError):
        ended(error=ZeroDivisionError())
