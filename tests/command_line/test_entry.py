"""Runs, sweeps and their ends, through the same entry that the scripts call."""

import errno
import os
import pickle
import subprocess
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import check_launcher
from deepseek_lab.command_line.outcome import GuardedJob, Outcome
from deepseek_lab.config import ConfigError, DataError


def names(folders):
    return [folder.name for folder in folders]


def test_a_run_gets_a_folder_of_words_that_remembers_the_command(app):
    assert app("attention=mla", "model.kv_lora_rank=8") == (0, [])
    folder = app.folders[0]
    assert folder.parent == app.logs / "pretrain" / "runs"
    assert folder.name.endswith("_attention-mla_kv_lora_rank-8")
    assert list(OmegaConf.load(folder / ".hydra" / "overrides.yaml")) == ["attention=mla", "model.kv_lora_rank=8"]
    assert "hydra" not in app.seen[0]


def test_runs_of_the_same_second_get_folders_of_their_own(app, monkeypatch):
    monkeypatch.setattr("hydra.core.utils.datetime", type("Stopped", (), {"now": staticmethod(lambda: STOPPED)}))
    for _ in range(3):
        assert app()[0] == 0
    assert names(app.folders) == ["12-00-00_default", "12-00-00_default-2", "12-00-00_default-3"]


class _Stopped:
    def strftime(self, pattern):
        return "12-00-00"


STOPPED = _Stopped()


def test_an_ablation_file_is_a_sweep_and_a_typed_value_replaces_its_axis(app):
    assert app("ablation=attention", "seed=7", "sweep=attn01") == (0, [])
    assert [str(cfg.attention.get("kv_lora_rank")) for cfg in app.seen] == ["None", "None", "16"]
    assert {cfg.seed for cfg in app.seen} == {7}
    assert {folder.parent for folder in app.folders} == {app.logs / "pretrain" / "multiruns" / "attn01"}
    assert all(folder.name.startswith("attention-m") and "_seed-7-" in folder.name for folder in app.folders)
    assert "job 3 of 3: attention-mla" in app.out
    assert app("ablation=attention", "seed=7", "sweep=attn01") == (0, [])
    assert app.folders[3:] == app.folders[:3], "the same command again goes on in the same folders"


def test_jobs_of_a_sweep_keep_one_folder_each_when_their_words_are_cut(app):
    long = [f"model.{key}=16" for key in ("kv_lora_rank", "head_dim", "v_head_dim", "dim", "n_heads")]
    assert app("-m", *long, "trainer.max_steps=1000,2000", "seed=1,2")[0] == 0
    assert len(set(app.folders)) == 4


def test_flags_and_overrides_stand_in_any_order(app):
    assert app("seed=1", "-m", "model.kv_lora_rank=4,8", "attention=mla") == (0, [])
    assert [cfg.attention.kv_lora_rank for cfg in app.seen] == [4, 8]


def test_every_job_is_checked_before_the_first_runs_and_the_wrong_one_is_named(app):
    code, lines = app("-m", "attention=mha,mla", "model.n_heads=4,3", "seed=5")
    assert code == 2
    assert lines == ["error: job 2 of 4 (attention=mha model.n_heads=3): model.n_heads must divide model.dim = 64"]
    assert app.seen == []
    assert not app.logs.exists()


def test_a_wrong_option_in_an_ablation_file_is_named_before_any_check(app):
    path = app.conf_dir / "ablation" / "attention.yaml"
    path.write_text(path.read_text().replace("mha,mqa,mla", "mha,mlaa"))
    code, lines = app("ablation=attention")
    assert code == 2
    assert lines == [
        "error: job 3 of 4 (attention=mlaa seed=1): attention has no option 'mlaa'; did you mean 'mla'? "
        "(options: mha, mla, mqa)"
    ]
    assert app.checked == 0


def test_several_devices_in_a_sweep_are_refused(app):
    code, lines = app("-m", "seed=1,2", "trainer.devices=2")
    assert (code, len(lines)) == (2, 1)
    assert "trainer.devices" in lines[0]
    assert app("trainer.devices=2") == (0, [])


def test_a_job_in_another_process_raises_there_because_nobody_reads_its_outcome(conf_dir, tmp_path):
    job = pickle.loads(pickle.dumps(GuardedJob("app_of_the_tests:train", Outcome(n_jobs=2))))
    assert job.process == os.getpid()
    job.process += 1
    with Composer(conf_dir, "train") as composer:
        config = composer.compose([])
    OmegaConf.set_struct(config, False)
    config.hydra.runtime.output_dir, config.hydra.job.num = str(tmp_path / "run"), 0
    HydraConfig.instance().set_config(config)
    with pytest.raises(ModuleNotFoundError):
        job(OmegaConf.create())
    assert job.outcome.failures == []


def test_slurm_is_asked_for_where_there_is_none(app, monkeypatch):
    launcher = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
    monkeypatch.setattr("shutil.which", lambda name: None)
    config = OmegaConf.create({"hydra": {"launcher": launcher, "runtime": {"choices": {"hydra/launcher": "slurm"}}}})
    with pytest.raises(ConfigError, match="hydra/launcher=slurm finds no srun here"):
        check_launcher(config)


def test_a_sweep_name_that_is_no_folder_name_is_refused(app):
    code, lines = app("sweep=a/b")
    assert (code, len(lines)) == (2, 1)
    assert "'a/b'" in lines[0]


def test_a_failing_job_is_named_at_the_end_and_the_others_run(app):
    def ends(cfg):
        if cfg.seed == 2:
            raise DataError("corpus.txt: is empty")

    app.ends = ends
    code, lines = app("-m", "seed=1,2,3")
    assert code == 1
    assert len(app.seen) == 3
    assert len(lines) == 2
    failed = app.folders[1].name
    assert lines == [f"error: {failed}: corpus.txt: is empty", f"error: 1 of 3 jobs failed: {failed}"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("must be even", "model.dim"), 2, "error: model.dim must be even"),
        (DataError("x.ckpt: cut short"), 2, "error: x.ckpt: cut short"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d"),
            1,
            "error: No space left on device: /d; when there is room, type the same command again",
        ),
    ],
)
def test_a_run_that_fails_says_one_line(app, error, code, line):
    def ends(cfg):
        raise error

    app.ends = ends
    assert app() == (code, [line])


def test_a_fault_of_the_program_shows_its_traceback(app):
    def ends(cfg):
        return {}["gone"]

    app.ends = ends
    code, lines = app()
    assert code == 1
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "error: KeyError: 'gone'"


@pytest.mark.parametrize("through_lightning", [False, True])
def test_ctrl_c_stops_a_sweep_with_130(app, through_lightning):
    def ends(cfg):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if through_lightning:
                sys.exit(1)
            raise

    app.ends = ends
    assert app("-m", "seed=1,2") == (130, [])
    assert len(app.seen) == 1


def test_a_typed_sheet_key_that_nothing_reads_is_one_warning(app):
    code, lines = app("model.kv_lora_rank=8")
    assert code == 0
    assert lines == ["warning: model.kv_lora_rank changes nothing here: none of the chosen parts reads it"]
    assert app("-m", "attention=mha,mla", "model.kv_lora_rank=8") == (0, [])


def _script(*arguments):
    """Exit code, stderr lines, stdout and whether torch was imported, of the real scripts/train.py."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    return done.returncode, lines, done.stdout, any(line.split()[-1] == "torch" for line in imports)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("attention=mqla", "error: attention has no option 'mqla'; did you mean 'mqa'? (options: gqa, mha, mla, mqa)"),
        ("model.n_heads=5", "error: model.n_heads = 5 does not cut model.dim=64 into heads of an even width"),
        ("trainer.max_steps=0", "error: trainer.max_steps must be at least 1, not 0"),
    ],
)
def test_the_real_script_refuses_without_importing_torch(typed, said):
    code, (line,), _, torch = _script("scripts/train.py", typed)
    assert code == 2
    assert line.startswith(said)
    assert not torch


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stage.weight_decay=nan", "stage.weight_decay must be a finite number, not nan"),
        ("stage.weight_decay=-inf", "stage.weight_decay must be a finite number, not -inf"),
        ("model.dim=1e999", "model.dim must be a finite number, not inf"),
        (
            "model.dim=9223372036854775808",
            "model.dim is larger than any number here can be (2**63): 9223372036854775808…",
        ),
        ("seed=4294967296", "seed must be below 2**32, not 4294967296: no generator takes more"),
    ],
)
def test_a_number_that_no_run_can_take_is_refused_before_any_job(app, override, line):
    assert app(override) == (2, [f"error: {line}"])
    key, _, value = override.partition("=")
    code, lines = app("-m", f"{key}=1,{value}")
    assert (code, app.seen) == (2, [])
    assert lines[0].endswith(line)


def test_a_path_that_is_not_there_is_refused_before_any_job(app, tmp_path):
    (tmp_path / "conf" / "data").mkdir()
    (tmp_path / "conf" / "data" / "texts.yaml").write_text(f"corpus: {{path: {tmp_path}}}\n")
    train = tmp_path / "conf" / "train.yaml"
    train.write_text(train.read_text().replace("- model: nano", "- model: nano\n- data: texts"))
    code, lines = app("-m", f"data.corpus.path={tmp_path},{tmp_path / 'gone'}")
    assert (code, app.seen) == (2, [])
    assert f"data.corpus.path names no file or folder: {tmp_path / 'gone'}" in lines[0]
