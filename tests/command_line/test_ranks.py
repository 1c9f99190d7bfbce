"""Who started this process, and how ranks that start together agree on one command line."""

import json
import sys
from argparse import Namespace

import pytest

from deepseek_lab.command_line.ranks import Started, planned_once, started

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Started()),
        (TORCHRUN, Started("torchrun", 3, 4)),
        (SRUN, Started("srun", 1, 2)),
        ({**SRUN, **TORCHRUN}, Started("torchrun", 3, 4)),  # torchrun under srun, one a machine
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Started()),  # a batch script without srun
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, Started("lightning", 1, 2)),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, Started()),  # rank 0 after it has started the others
    ],
)
def test_the_starter_is_read_from_the_environment(environment, expected):
    assert started(environment) == expected


class Wire:
    """Stands in for the rendezvous: one text, as rank 0 tells it."""

    def __init__(self, monkeypatch, rank):
        for name, value in {**TORCHRUN, "RANK": str(rank), "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setitem(sys.modules, "wire_of_the_tests", self)
        monkeypatch.setattr("deepseek_lab.command_line.ranks.TELL", "wire_of_the_tests:tell")
        monkeypatch.setattr("deepseek_lab.command_line.ranks.HEAR", "wire_of_the_tests:hear")
        self.text = None

    def tell(self, me, text):
        self.text = text

    def hear(self, me):
        return self.text


def test_rank_0_plans_and_tells_the_line_that_it_made(monkeypatch):
    wire = Wire(monkeypatch, rank=0)
    args = Namespace(overrides=["resume=auto"], multirun=False)

    def plan():
        args.overrides = ["resume=/run", "hydra.run.dir=/run"]
        return ["a job"]

    assert planned_once(args, plan) == ["a job"]
    assert json.loads(wire.text) == {"overrides": ["resume=/run", "hydra.run.dir=/run"]}


def test_the_others_take_its_line_plan_nothing_and_write_no_config(monkeypatch):
    wire = Wire(monkeypatch, rank=1)
    wire.text = json.dumps({"overrides": ["resume=/run"]})
    args = Namespace(overrides=["resume=auto"], multirun=False)
    assert planned_once(args, lambda: pytest.fail("only rank 0 plans")) == []
    assert args.overrides == ["resume=/run", "hydra.output_subdir=null"]


def test_a_refusal_is_told_and_the_others_end_without_a_word(monkeypatch, capsys):
    wire = Wire(monkeypatch, rank=0)
    with pytest.raises(ZeroDivisionError):
        planned_once(Namespace(overrides=[]), lambda: 1 // 0)
    monkeypatch.setenv("RANK", "1")
    assert wire.text
    with pytest.raises(SystemExit) as stop:
        planned_once(Namespace(overrides=[]), lambda: [])
    assert stop.value.code == 0
    assert capsys.readouterr() == ("", "")


def test_what_stops_every_rank_is_said_by_rank_0_alone(app, monkeypatch):
    from deepseek_lab.stages.errors import LostRank, TrainingError

    monkeypatch.setenv("LOCAL_RANK", "1")

    def ends(cfg):
        raise error

    app.ends = ends
    error = TrainingError("step 4: the loss is not finite")
    assert app() == (1, [])
    error = LostRank("another rank is gone")
    assert app() == (1, ["error: rank 1: another rank is gone"])


def test_a_sweep_on_several_devices_is_told_the_way(app):
    code, lines = app("-m", "seed=1,2", "trainer.devices=2")
    assert code == 2
    assert lines == [
        "error: job 1 of 2 (seed=1): trainer.devices = 2, but with hydra/launcher=basic each would start the whole "
        "sweep again; use hydra/launcher=process"
    ]


def test_torchrun_starts_no_sweep(app, monkeypatch):
    Wire(monkeypatch, rank=0)
    assert app("-m", "seed=1,2") == (2, ["error: a sweep starts its own processes; type it once, without torchrun"])
    assert app.seen == []
