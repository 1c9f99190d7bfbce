"""Which figures a comparison gets: Pareto fronts, differences, loads of experts."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from deepseek_lab.config import DataError
from deepseek_lab.report.comparison import compare
from deepseek_lab.report.difference_figures import difference_figures
from deepseek_lab.report.figures import draw
from deepseek_lab.report.findings import evidence
from deepseek_lab.report.load_figure import load_figures, relative
from deepseek_lab.report.loads import read_loads
from deepseek_lab.report.pareto import front, pareto_figures
from deepseek_lab.report.question import read_question
from deepseek_lab.report.runs import read_runs


def drawn(folder, figures=draw):
    return {picture.name: picture for picture in figures(evidence(compare(read_runs(folder)[0]), read_question([])))}


def test_the_front_is_what_no_other_beats_in_both():
    points = [(3, 1.0), (1, 3.0), (2, 2.0), (2.5, 2.5), (1, 4.0), (4, 1.0)]
    assert front(points) == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_costs_that_are_alike_have_no_figure(runs, three_seeds):
    assert set(drawn(three_seeds, pareto_figures)) == {"pareto_kv"}
    runs.add("mqa", counts={"total_params": 1, "active_params": 1, "mtp_params": 0, "flops_per_token": 5e6})
    assert set(drawn(three_seeds, pareto_figures)) == {"pareto_kv", "pareto_flops"}


def test_differences_are_drawn_where_there_are_intervals(sweep, runs):
    assert not drawn(sweep, difference_figures)
    runs.add("mla", 2, 2.17)
    assert set(drawn(sweep, difference_figures)) == {"difference_val_bits_per_byte"}


def with_loads(folder, rows):
    lines = [{"step": step, **{f"moe/layer_{k}/load": shares for k, shares in load.items()}} for step, load in rows]
    (folder / "expert_load.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_loads_are_the_mean_of_the_second_half_layer_by_layer(runs):
    folder = runs.add()
    rows = [(1, {1: [1, 0]}), (2, {1: [1, 0]}), (3, {1: [0.5, 0.5], 10: [0, 1]}), (4, {1: [0.7, 0.3], 10: [0, 1]})]
    with_loads(folder, rows)
    loads = read_loads(folder)
    assert list(loads) == [1, 10]
    assert loads[1] == pytest.approx([0.6, 0.4])
    assert relative(loads) == pytest.approx(np.array([[1.2, 0.8], [0, 2]]))


def test_only_a_mixture_gets_a_map_of_its_loads(runs):
    runs.add("mha")
    assert not drawn(runs.folder, load_figures)
    with_loads(runs.add("mla"), [(1, {1: [0.5, 0.5]})])
    assert set(drawn(runs.folder, load_figures)) == {"expert_load"}


def test_a_broken_file_of_loads_is_named(runs):
    (runs.add() / "expert_load.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"expert_load\.jsonl line 1: is no JSON"):
        drawn(runs.folder, load_figures)


def test_pictures_are_svg_that_asks_for_nothing(three_seeds):
    for picture in drawn(three_seeds).values():
        root = ET.fromstring(picture.svg)
        links = [v for node in root.iter() for k, v in node.attrib.items() if k.endswith("href")]
        assert root.tag.endswith("svg")
        assert all(link.startswith(("#", "data:")) for link in links)
        assert picture.png.startswith(b"\x89PNG")
        assert picture.caption.endswith(".")
