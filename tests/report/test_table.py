"""The table of the terminal and the one for computing on."""

import csv
import io

import pytest
from rich.console import Console

from deepseek_lab.report.comparison import compare
from deepseek_lab.report.findings import evidence
from deepseek_lab.report.question import read_question
from deepseek_lab.report.runs import read_runs
from deepseek_lab.report.table import csv_table, rich_table, short


def compared(folder):
    return evidence(compare(read_runs(folder)[0]), read_question([]))


def printed(folder, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rich_table(compared(folder), "title"))
    return console.export_text()


def test_every_value_fits_into_eighty_columns(sweep):
    text = printed(sweep)
    assert "…" not in text
    row = next(line.split() for line in text.splitlines() if line.strip().startswith("mqa"))
    assert row == ["mqa", "1", "3.842", "2.260", "+0.050", "beyond", "1.06M", "3,072", "12,000", "0.8"]
    assert "baseline" in next(line for line in text.splitlines() if line.strip().startswith("mha"))
    assert "within" in next(line for line in text.splitlines() if line.strip().startswith("gqa"))
    assert "2.730" in next(line for line in text.splitlines() if "add-one trigram" in line)


def test_an_interval_speaks_before_the_spread(three_seeds):
    rows = {line.split()[0]: line for line in printed(three_seeds).splitlines() if line.strip()}
    assert "−0.100 beyond" in rows["mla"]
    assert "within" in rows["gqa"]


def test_active_parameters_appear_where_they_differ(runs):
    counts = {"total_params": 3_100_000, "active_params": 1_200_000, "mtp_params": 0}
    runs.add("mha")
    runs.add("mla", counts=counts)
    text = printed(runs.folder, width=120)
    assert "3.10M / 1.20M" in text
    assert " 1.06M " in text


def test_csv_holds_the_statistics_of_every_deciding_metric(three_seeds):
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(csv_table(compared(three_seeds))))}
    mla = {key.removeprefix("val/bits_per_byte_"): value for key, value in rows["mla"].items()}
    assert float(mla["difference"]) == pytest.approx(-0.0996667, abs=1e-6)
    assert float(mla["low"]) < float(mla["difference"]) < float(mla["high"]) < 0
    assert 2 * float(mla["p"]) == pytest.approx(float(mla["p_adjusted"]))
    assert (rows["mha"]["val/bits_per_byte_difference"], rows["mha"]["flops_per_token"]) == ("", "6000000.0")


def test_csv_is_not_rounded_and_leaves_the_unknown_empty(runs):
    runs.add("mha", bits=2.2000001, seconds=None, tokens_per_second=None)
    runs.add("mla", bits=2.1)
    first, second = csv.DictReader(io.StringIO(csv_table(compared(runs.folder))))
    assert (first["variant"], first["bits_per_byte"], first["seconds"]) == ("mha", "2.2000001", "")
    assert (second["is_baseline"], second["exceeds_seed_spread"]) == ("False", "")
    assert float(second["difference_to_baseline"]) == pytest.approx(-0.1000001)
    assert "–" in printed(runs.folder)


def test_brackets_of_a_value_are_no_markup(runs):
    runs.add(overrides=["optimizer.betas=[0.9,0.95]"])
    runs.add(overrides=["optimizer.betas=[red]"])
    assert "[red]" in printed(runs.folder)


@pytest.mark.parametrize(("number", "text"), [(999, "999"), (1_060_000, "1.06M"), (123_456, "123K"), (6.71e11, "671B")])
def test_counts_are_short(number, text):
    assert short(number) == text
