"""The report of a road: figures of every stage, gains question by question, and no rise where there is none."""

import json

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.report.road import read_road
from deepseek_lab.report.road_figures import smoothed
from deepseek_lab.report.road_findings import findings
from deepseek_lab.report.road_report import write_road_report
from deepseek_lab.report.road_tables import costs, gains, results
from deepseek_lab.report.road_transcripts import shown
from toy_road import road


def test_a_rise_is_told_with_its_interval_and_so_are_longer_answers(tmp_path):
    found = read_road(road(tmp_path, {"base": 2, "rl": 18}))
    said = list(findings(found, "held_out"))
    assert said[0].startswith("`rl` is better than `base` at held_out (20 questions): +60.0 points")
    assert said[1].startswith("Answers of `rl` grew: 10.0 tokens")


def test_a_fall_is_told_as_plainly_and_no_difference_is_none(tmp_path):
    fell = read_road(road(tmp_path / "a", {"base": 18, "rl": 2}, lengths=(10.0, 10.0)))
    assert "worse than" in next(findings(fell, "held_out"))
    assert "kept their length" in list(findings(fell, "held_out"))[1]
    same = read_road(road(tmp_path / "b", {"base": 9, "rl": 9}))
    assert "not told apart from" in next(findings(same, "held_out"))


def test_several_seeds_are_judged_by_their_spread(tmp_path):
    found = read_road(road(tmp_path, {"base": [2, 2, 2], "rl": [3, 18, 3]}, seeds=(1, 2, 3)))
    assert "not told apart from" in next(findings(found, "held_out")), "one seed of three rose"
    cells = gains(found, ["held_out"]).rows[0]
    assert cells[1:3] == ("20", "+22.5")
    assert cells[5] == "+3.8, +60.0, +3.8"
    steady = read_road(road(tmp_path / "b", {"base": [2, 2, 2], "rl": [17, 18, 17]}, seeds=(1, 2, 3)))
    assert "better than" in next(findings(steady, "held_out"))


def test_the_table_holds_pass_at_one_at_k_and_the_majority(tmp_path):
    found = read_road(road(tmp_path, {"base": 2, "rl": 18}))
    base, rl = results(found, "held_out").rows
    assert [cell.split(" ")[0] for cell in base[2:5]] == ["32.5", "100.0", "10.0"]
    assert [cell.split(" ")[0] for cell in rl[2:5]] == ["92.5", "100.0", "90.0"]
    assert base[5:] == ("9.0", "32.5")


def test_costs_are_those_of_all_steps(tmp_path):
    cells = costs(read_road(road(tmp_path, {"base": 2, "rl": 18}, seeds=(1, 2))))
    assert cells.rows[-1][:5] == ("all", "8.0", "4.0", "4.0", "1.2e+13")


def test_the_report_is_written_whole_and_for_a_road_that_is_not_finished_too(tmp_path):
    folder = road(tmp_path, {"base": 2, "rl": 18})
    page = write_road_report(folder)
    text = (folder / "report.md").read_text()
    assert page.read_text().startswith("<!doctype html>")
    assert "`q2`" in text, "a question that was learnt on the way"
    assert (folder / "plots" / "scores_held_out.png").exists()
    assert (folder / "plots" / "lengths.png").exists()
    content = json.loads((folder / "road.json").read_text())
    for row in content["steps"][2:]:
        row["done"] = False
    (folder / "road.json").write_text(json.dumps(content))
    write_road_report(folder)
    assert "Not complete: rl" in (folder / "report.md").read_text()


def test_a_folder_that_is_no_road_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no road\.json"):
        read_road(tmp_path)


def test_curves_are_smoothed_to_few_points_that_keep_their_mean():
    curve = [(n, float(n)) for n in range(100)]
    points = smoothed(curve, at_most=10)
    assert len(points) == 10
    assert sum(value for _, value in points) / 10 == pytest.approx(49.5)
    assert smoothed([]) == []


def test_a_transcript_is_one_line_without_marks_of_its_own():
    assert shown("a `b`\n c") == "`a 'b' ⏎ c`"
    assert shown("x" * 400).endswith("…`")
