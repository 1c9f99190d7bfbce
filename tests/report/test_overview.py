"""Sweeps that ask different questions: each is answered by itself, by its own baseline, in one report."""

import csv
import io
from statistics import fmean

import pytest
from rich.console import Console
from tests.report.conftest import Runs

from deepseek_lab.report import write_report
from deepseek_lab.report.answering import by_question
from deepseek_lab.report.runs import read_runs

ATTENTION = {"question": "Which attention?", "baseline": ["attention=mha"], "metrics": ["val/bits_per_byte"]}
FFN = {"question": "Which network?", "baseline": ["ffn=dense"], "metrics": ["val/bits_per_byte"]}
BITS = {"mha": (2.20, 2.22, 2.21), "mla": (2.10, 2.13, 2.11), "dense": (2.30, 2.31, 2.33), "moe": (2.25, 2.38, 2.28)}


@pytest.fixture
def sweeps(tmp_path):
    """Two sweeps of three seeds; the second one's network stands in `ffn`."""
    first, second = Runs(tmp_path / "one"), Runs(tmp_path / "two")
    for name in ("mha", "mla"):
        for seed, bits in enumerate(BITS[name], 1):
            first.add(name, seed, bits, ablation=ATTENTION)
    for name in ("dense", "moe"):
        for seed, bits in enumerate(BITS[name], 1):
            second.add("mha", seed, bits, {"ffn": name}, [f"ffn={name}"], ablation=FFN)
    return [first.folder, second.folder]


def printed(sweeps, out, **options):
    console = Console(file=io.StringIO(), width=120)
    return write_report(sweeps, out, console=console, **options), console.file.getvalue()


def test_each_question_has_its_own_baseline_and_pairs(sweeps, tmp_path):
    made, text = printed(sweeps, tmp_path / "out")
    rows = {row["variant"]: row for row in csv.DictReader(made.table.open())}
    assert list(rows) == ["mha", "mla", "dense", "moe"]
    for variant, baseline in (("mla", "mha"), ("moe", "dense")):
        expected = fmean(BITS[variant]) - fmean(BITS[baseline])
        assert float(rows[variant]["difference"]) == pytest.approx(expected)
        assert rows[baseline]["difference"] == ""
    assert float(rows["mla"]["high"]) < 0 < float(rows["moe"]["high"])
    share = 100 * (fmean(BITS["mla"]) / fmean(BITS["mha"]) - 1)
    assert f"{share:+.1f}%".replace("-", "−") in text
    words = made.markdown.read_text()
    assert all(said in words for said in ("Which attention?", "Which network?", "mla is", "moe: no difference"))
    assert made.page.exists()
    assert [plot.name for plot in made.plots] == ["overview.png"]


def test_the_same_question_of_two_sweeps_is_one_comparison(sweeps, tmp_path):
    finished, _ = read_runs(sweeps[:1])
    assert by_question([*finished, *finished])[0][0].comparison.baseline.label == "mha"
    assert len(by_question(finished)) == 1
    made, _ = printed(sweeps[:1], tmp_path / "out")
    assert made.comparison is not None


def test_a_typed_baseline_pools_the_runs_of_all_questions(sweeps, tmp_path):
    made, _ = printed(sweeps, tmp_path / "out", metrics=["val/loss"])
    assert len(made.comparison.variants) == 3, "the dense network with mha is a variant of both"


def test_what_is_not_finished_is_counted(sweeps, tmp_path):
    Runs(sweeps[0]).stop("gqa")
    made, _ = printed(sweeps, tmp_path / "out")
    assert "not finished: 1." in made.markdown.read_text()
