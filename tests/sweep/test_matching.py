"""Matching through Hydra: what becomes of a command line, of a sweep's folders, and of what cannot be matched."""

import pytest
from omegaconf import OmegaConf

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import expand, task_config
from deepseek_lab.command_line.naming import job_hash
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.configs import read_configs, read_match
from deepseek_lab.sweep.matching import matched, replaced, size_of

RULES = ("params", "active_params", "flops", "kv_cache")


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield composer


def jobs_of(composer, *overrides):
    return expand(composer, list(overrides), sweep=True)


def missed(composer, *overrides):
    """The share by which each job misses the first one's size, by its own count, and the jobs."""
    jobs = jobs_of(composer, *overrides)
    sizes = [size_of(job.config, read_match(job.config)) for job in jobs]
    return [abs(size / sizes[0] - 1) for size in sizes], jobs


@pytest.mark.parametrize("model", ["micro", *(pytest.param(m, marks=pytest.mark.slow) for m in ("nano", "small"))])
@pytest.mark.parametrize("rule", ["params", "active_params", "flops"])
def test_every_attention_and_ffn_lands_within_one_percent(composer, rule, model):
    """The baseline of the rule's own file is MHA with a dense FFN, which comes first here."""
    residuals, jobs = missed(composer, f"model={model}", f"match={rule}", "attention=mha,mla", "ffn=dense,moe")
    assert max(residuals) <= 0.01
    assert (
        OmegaConf.select(jobs[0].config, "model.intermediate_size")
        == composer.compose([f"model={model}"]).model.intermediate_size
    )
    assert not any("intermediate_size" in line for line in jobs[0].overrides), "the baseline is as it was"
    for job, ffn in zip(jobs, ("dense", "moe") * 2, strict=True):
        (other,) = {"moe": ["model.intermediate_size"], "dense": ["model.moe_intermediate_size"]}[ffn]
        assert not any(line.startswith(f"{other}=") for line in job.overrides), "one width is solved"


@pytest.mark.parametrize("attention", ["mha", "gqa", "mqa"])
def test_a_cache_as_small_as_mlas(composer, attention):
    residuals, _ = missed(composer, "model=micro", "match=kv_cache", f"attention=mla,{attention}")
    assert max(residuals) <= 0.01


def test_another_baseline_width_and_target(composer):
    (job,) = jobs_of(composer, "attention=mla", "match=kv_cache", "match.baseline=['attention=mha']")
    assert job.config.model.kv_lora_rank + job.config.model.qk_rope_head_dim == 2 * 64
    (job,) = jobs_of(composer, "match=params", "match.target=207000", "match.widths=[dim]", "match.multiple=8")
    assert size_of(job.config, read_match(job.config)) == pytest.approx(207_000, rel=0.01)
    assert job.config.model.dim == 104


def test_a_typed_width_is_the_baselines_too(composer):
    mha, mla = jobs_of(composer, "attention=mha,mla", "match=params", "model.intermediate_size=512")
    assert mha.config.model.intermediate_size == 512
    assert mla.config.model.intermediate_size > 500


def test_solving_again_from_what_was_solved_changes_nothing(composer):
    (job,) = jobs_of(composer, "attention=mla", "match=params", "model.intermediate_size=512")
    again = matched(job.config, job.overrides, composer.compose)
    assert dict(line.split("=", 1) for line in again) == dict(line.split("=", 1) for line in job.overrides)


def test_a_job_is_what_is_built(composer):
    """An ablation, a rule that changes nothing and the width typed by hand are the same job."""
    (job,) = jobs_of(composer, "attention=mla", "match=params")
    width = job.config.model.intermediate_size
    by_hand = composer.compose(["attention=mla", f"model.intermediate_size={width}"])
    assert job_hash(job.config) == job_hash(by_hand)
    assert job_hash(job.config) != job_hash(composer.compose(["attention=mla"]))
    asked = composer.compose(["ablation.question=why", "match=params"])
    assert job_hash(asked) == job_hash(composer.compose([]))


def test_a_resumed_run_keeps_its_width(composer):
    lines = ["attention=mla", "match=params", "resume=/some/run"]
    assert matched(composer.compose(lines), lines, composer.compose) == lines


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["match.tolerance=1e-6"], "match.tolerance = 1e-06 cannot be met in parameters"),
        (["match.widths=[intermediate_siz]"], "did you mean 'intermediate_size'?"),
        (["match.widths=[n_routed_experts]"], "this network reads none of them"),
        (
            ["match.baseline=['attention=mlaa']"],
            "baseline of match cannot be built: attention has no option 'mlaa'",
        ),
        (["match.tolerance=often"], "match.tolerance must be a number"),
        (["match.target=100"], "= 1 comes nearest"),
        (["ablation.baseline=['mha']"], "ablation.baseline must hold overrides like attention=mha, not 'mha'"),
        (["data.corpus.folder=???"], "data.corpus.folder has no value"),
    ],
)
def test_what_cannot_be_matched_is_one_line(composer, overrides, line):
    with pytest.raises(ConfigError) as error:
        expand(composer, ["attention=mla", "match=params", *overrides], sweep=False)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_in_a_sweep_the_job_is_named(composer):
    with pytest.raises(ConfigError, match=r"^job 2 of 2 \(attention=mla\): match.tolerance = 0.001 cannot be met"):
        jobs_of(composer, "attention=mha,mla", "match=params", "match.tolerance=0.001")


def test_a_rule_that_nobody_solved_is_refused(composer):
    with pytest.raises(ConfigError, match=r"match\.target is unknown"):
        check(task_config(composer.compose(["attention=mla", "match=params"])))


def test_an_older_run_has_no_rule(composer):
    config = task_config(composer.compose([]))
    OmegaConf.set_struct(config, False)
    config.pop("match"), config.pop("ablation")
    assert read_configs(config).match.rule == "none"


def test_a_new_value_stands_at_the_end():
    assert replaced(["a=1", "b=2", "++c=3"], {"b": "5", "c": "4"}) == ["a=1", "b=5", "c=4"]
