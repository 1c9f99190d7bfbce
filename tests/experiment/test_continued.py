"""A resumed run keeps its network, its data and its seed; what is refused is refused before anything is written."""

import zipfile

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.continued import require_same_run


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield composer


@pytest.fixture
def run(composer, tmp_path):
    """A run folder with its stored config and an archive for a checkpoint."""
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "checkpoints").mkdir()
    config = task_config(composer.compose(["attention=mla", "seed=3"]))
    (tmp_path / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    with zipfile.ZipFile(tmp_path / "checkpoints" / "step_00000004.ckpt", "w") as archive:
        archive.writestr("data", "weights")
    return tmp_path


def again(composer, run, *overrides):
    require_same_run(task_config(composer.compose(["attention=mla", "seed=3", *overrides])), run)


@pytest.mark.parametrize(
    "free",
    [
        *("optimizer.lr=0.5", "schedule=constant", "trainer.max_steps=999", "balance=none", "precision=bf16"),
        *("data.micro_batch_size=4", "data.n_workers=3", "paths.cache=elsewhere"),
    ],
)
def test_how_a_run_goes_on_may_change(composer, run, free):
    again(composer, run, free)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("seed=4", "seed is 4, but the run that is resumed has 3"),
        ("data.seq_len=64", "data.seq_len is 64, but the run that is resumed has 128"),
        ("data.batch_size=16", "data.batch_size is 16"),
        ("model.kv_lora_rank=16", "model.kv_lora_rank is 16"),
        ("attention=mha", "attention._target_ is 'deepseek_lab.model.attention.grouped"),
        ("mtp=depth1", "mtp.depth is 1"),
        ("tokenizer=bytes", "tokenizer._target_"),
    ],
)
def test_what_a_run_is_may_not(composer, run, typed, line):
    with pytest.raises(ConfigError) as refusal:
        again(composer, run, typed)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_key_that_an_older_run_does_not_know_is_not_held_against_it(composer, run):
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    del config.data.isolate_documents
    path.write_text(OmegaConf.to_yaml(config))
    again(composer, run)


def test_a_damaged_run_is_named(composer, run):
    (run / "checkpoints" / "step_00000004.ckpt").write_bytes(b"PK cut off")
    with pytest.raises(DataError, match=r"step_00000004\.ckpt: truncated"):
        again(composer, run)
