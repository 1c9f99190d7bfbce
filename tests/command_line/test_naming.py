"""Names of run folders: readable, safe for Hydra's parser and the shell, different for different jobs."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.command_line.naming import claim_folder, job_folder, job_hash, run_words, sweep_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["attention=mla", "ffn=moe"], "attention-mla_ffn-moe"),
        (["model.kv_lora_rank=64", "optimizer.lr=3e-4"], "kv_lora_rank-64_lr-3e-4"),
        (["resume=/a/b", "sweep=x", "paths.logs=/tmp", "init_from=y", "ablation=attention"], "default"),
        (["ablation=attention", "attention=mla", "trainer.max_steps=5"], "attention-mla_max_steps-5"),
        (["data.files=[a b,c/d]"], "files--a-b-c-d"),
        (["++model.dim=64"], "dim-64"),
    ],
)
def test_words(overrides, name):
    assert run_words(overrides) == name


def test_a_name_is_short_whole_words_and_safe_in_an_override():
    name = run_words([f"group_{i}=öption {i}=ä,ß" for i in range(40)])
    assert len(name) <= 80
    assert re.fullmatch(r"[A-Za-z0-9._+-]+", name)
    assert name.count("group") > 3
    assert all(re.fullmatch(r"(group_)?\d+--ption-\d+", word) for word in name.removeprefix("group_").split("_group_"))
    parsed = OverridesParser.create().parse_override(f"resume={name}")
    assert parsed.value() == name
    assert len(run_words(["model.name=" + "x" * 200])) == 80


def test_a_long_name_keeps_choices_seed_and_the_last_values():
    long = ["trainer.max_steps=100", "data.corpus.folder=/a/place-for-texts-of-every-kind", "trainer.validate_every=10"]
    job = [*long, "attention=mla", "seed=2", "model.kv_lora_rank=64"]
    assert run_words(job) == "validate_every-10_attention-mla_seed-2_kv_lora_rank-64"
    names = {run_words([*long, *long, f"attention={kind}", f"seed={n}"]) for kind in ("mha", "mla") for n in (1, 2)}
    assert len(names) == 4


def _config(**changes):
    values = {
        "model": {"dim": 64},
        "attention": {"width": "${model.dim}"},
        "data": {"cache": "${paths.root}/.cache"},
        "seed": 1,
        "resume": None,
        "sweep": None,
        "paths": {"root": "/home/a"},
        "hydra": {"job": {"num": "???"}},
    }
    return OmegaConf.merge(OmegaConf.create(values), OmegaConf.create(changes))


def test_hash_reads_what_a_job_computes_and_nothing_else():
    first = job_hash(_config())
    assert re.fullmatch(r"[0-9a-f]{8}", first)
    assert job_hash(_config(resume="/run", sweep="x", paths={"root": "/elsewhere"})) == first
    assert job_hash(_config(seed=2)) != first
    assert job_hash(_config(model={"dim": 128})) != first
    assert job_hash(_config(attention={"width": 64})) == first, "64 typed and 64 taken from the sheet are one job"


def test_what_the_network_does_not_read_and_what_only_makes_it_faster_is_no_other_job():
    first = job_hash(_config())
    assert job_hash(_config(model={"kv_lora_rank": 64})) == first, "no leaf reads it"
    read = _config(attention={"rank": "${model.kv_lora_rank}"}, model={"kv_lora_rank": 64})
    other = _config(attention={"rank": "${model.kv_lora_rank}"}, model={"kv_lora_rank": 32})
    assert job_hash(read) != job_hash(other)
    for same in ({"data": {"n_workers": 3}}, {"data": {"cache": "/x", "cache_dir": "/y"}}, {"hardware": {"peak": 1}}):
        assert (job_hash(_config(**same)) == first) == ("cache" not in same.get("data", {}))
    assert job_hash(_config(sweep_stale="keep")) == first


def test_a_job_keeps_the_folder_that_its_hash_has(tmp_path):
    config = _config()
    sweep = tmp_path / "s"
    assert job_folder(str(sweep), "seed-1", _root_=config) == f"seed-1-{job_hash(config)}"
    (sweep / f"in_other_words-{job_hash(config)}").mkdir(parents=True)
    assert job_folder(str(sweep), "seed-1", _root_=config) == f"in_other_words-{job_hash(config)}"
    assert job_folder(str(sweep), "seed-1", _root_=_config(seed=2)).startswith("seed-1-")


def test_claimed_folders_are_never_shared(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder(tmp_path / "runs" / "now_default"), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)
    assert (tmp_path / "runs" / "now_default-24").is_dir()


def test_resolvers_see_the_whole_config():
    register_resolvers()
    config = _config(hydra={"words": ["attention=mla"], "name": "${run_words:${hydra.words}}-${job_hash:}"})
    assert config.hydra.name == f"attention-mla-{job_hash(config)}"
    assert sweep_name("attn01") == "attn01"
    assert sweep_name(None) != "None"
