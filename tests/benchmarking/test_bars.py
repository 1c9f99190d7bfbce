"""The bars: each is read from its benchmark's file, and the worse end of the interval decides."""

import io
import json
import runpy

import pytest
from rich.console import Console

from deepseek_lab.benchmarking import bars, bars_report
from deepseek_lab.benchmarking.bars import BARS, Verdict, missing, verdicts
from deepseek_lab.command_line import PROJECT_ROOT


def verdict(low, high, at_most=False):
    return Verdict("x", "command", "others", must=2.0, goal=4.0 if not at_most else 1.0, at_most=at_most,
                   value=(low + high) / 2, low=low, high=high)  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "at_most", "must", "goal"),
    [
        (2.1, 5.0, False, True, False),
        (1.9, 5.0, False, False, False),
        (4.0, 5.0, False, True, True),
        (0.5, 1.9, True, True, False),
        (0.5, 2.1, True, False, False),
        (0.5, 0.9, True, True, True),
    ],
)
def test_the_worse_end_decides(low, high, at_most, must, goal):
    found = verdict(low, high, at_most)
    assert (found.meets(found.must), found.meets(found.goal), found.meets(None)) == (must, goal, None)


def seconds(**values):
    return {name: [value] * 5 for name, value in values.items()}


RESULTS = {
    "training": {
        "environment": {},
        "results": [
            {
                "workload": {"name": "S512"},
                "flops_per_step": 3e11,
                "sgemm_2048_gflops": 100.0,
                "contestants": {
                    "deepseek_lab": {"seconds": [5.0] * 5},
                    "transformers": {"seconds": [8.0] * 5},
                    "transformers, fused AdamW": {"seconds": [7.0] * 5},
                },
            }
        ],
    },
    "decoding": [{"row": "G8", "seconds": {**seconds(ours=1.0, transformers=6.0), "ours, one by one": [2.0] * 5}}],
    "attention": [{"row": "8x4096", "seconds": seconds(absorbed=1.0, expanded=30.0, full=3.0)}],
    "experts": [{"row": "tokens32", "seconds": seconds(mixture=3.0, dense=1.0)}],
    "head": [
        {
            "row": "V8192",
            "seconds": seconds(chunked=1.0, plain=1.0),
            "memory": {"plain": {"peak": 120}, "chunked": {"peak": 10}},
        }
    ],
    "rl": [{"row": "prompt16", "seconds": seconds(ours=1.0, TRL=3.0), "ratios": [3.0] * 5}],
    "precision": [{"what": "linear512", "recipes": {"fp8": {"times_fp32": [1.2] * 5}}}],
}
WANTED = {
    ("a", "transformers"): (1.6, True, True),
    ("a", "transformers, fused AdamW"): (1.4, None, None),
    ("b", "MFU"): (0.6, True, False),
    ("i", "transformers"): (6.0, True, False),
    ("i", "ours, one by one"): (2.0, False, False),
    ("d", "expanded"): (30.0, True, True),
    ("d", "full"): (3.0, True, False),
    ("e", "mixture"): (3.0, True, False),
    ("f", "memory"): (12.0, True, True),
    ("f", "chunked"): (1.0, True, False),
    ("h", "TRL"): (3.0, True, False),
    ("k", "fp8"): (1.2, True, False),
}


@pytest.fixture
def files(tmp_path):
    for name, content in RESULTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return {name: tmp_path / f"{name}.json" for name in (*RESULTS, "trainer")}


def test_every_bar_finds_its_numbers(files):
    found = {(v.letter, v.what): (round(v.value, 9), v.meets(v.must), v.meets(v.goal)) for v in verdicts(files)}
    assert found == WANTED


def test_what_was_not_measured_is_named(files):
    left = missing(verdicts(files))
    assert "(g) trainer --rows micro" in left
    assert "(a) training --rows S2048" in left
    assert "(a) training --rows S512" not in left


def test_table_picture_and_file(files, tmp_path):
    found = verdicts(files)
    bars_report.save(found, tmp_path)
    written = json.loads((tmp_path / "bars.json").read_text())
    assert [(row["letter"], row["must_met"]) for row in written] == [(v.letter, v.meets(v.must)) for v in found]
    assert (tmp_path / "bars.png").stat().st_size > 1000
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bars_report.table(found))
    assert console.export_text().count("✓") == 1 + sum(v.meets(m) is True for v in found for m in (v.must, v.goal))


def test_every_bar_has_a_command():
    rows = runpy.run_path(str(PROJECT_ROOT / "scripts" / "benchmark.py"))["ROWS"]
    for bar in BARS:
        assert set(bar.rows) <= set(rows[bar.benchmark]), bar.letter
    assert {bar.letter for bar in bars.BARS} >= set("abcdefghik")
