"""The published models, composed from their experiments and built on `meta`, have the published sizes."""

from functools import cache

import pytest
import torch

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.planning.counts import count

# total, activated, activated without the embedding table (None: a dense model activates all), numbers in the cache
PUBLISHED = {
    "deepseek_llm_7b": (6_910_365_696, None, 6_490_935_296, 245_760),
    "deepseek_llm_67b": (67_425_001_472, None, 66_586_140_672, 194_560),
    "deepseek_coder_1_3b": (1_346_471_936, None, 1_280_411_648, 98_304),
    "deepseek_coder_6_7b": (6_740_512_768, None, 6_608_392_192, 262_144),
    "deepseek_coder_33b": (33_342_991_360, None, 33_111_780_352, 126_976),
    "deepseek_math_7b": (6_910_365_696, None, 6_490_935_296, 245_760),
    "deepseek_moe_16b": (16_375_728_128, 2_828_650_496, 2_618_935_296, 114_688),
    "deepseek_v2_lite": (15_706_484_224, 2_661_150_208, 2_451_435_008, 15_552),
    "deepseek_v2": (235_741_434_880, 21_375_800_320, 20_851_512_320, 34_560),
    "deepseek_coder_v2_lite": (15_706_484_224, 2_661_150_208, 2_451_435_008, 15_552),
    "deepseek_coder_v2": (235_741_434_880, 21_375_800_320, 20_851_512_320, 34_560),
    "deepseek_v3": (671_026_404_352, 37_552_282_624, 36_625_603_584, 35_136),
    "deepseek_r1": (671_026_404_352, 37_552_282_624, 36_625_603_584, 35_136),
    "r1_distill_qwen_1_5b": (1_777_088_000, None, 1_543_714_304, 14_336),
    "r1_distill_qwen_7b": (7_615_616_512, None, 7_070_619_136, 28_672),
    "r1_distill_qwen_14b": (14_770_033_664, None, 13_991_465_984, 98_304),
    "r1_distill_qwen_32b": (32_763_876_352, None, 31_985_308_672, 131_072),
    "r1_distill_llama_8b": (8_030_261_248, None, 7_504_924_672, 65_536),
    "r1_distill_llama_70b": (70_553_706_496, None, 69_503_033_344, 163_840),
}
V3_MTP_MODULE = 11_610_067_968
MINIS = {"mini_llm", "mini_moe", "mini_v2", "mini_v3", "quickstart"}


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield composer


@cache
def configs_of(composer, experiment, *overrides):
    return read_configs(task_config(composer.compose([f"experiment={experiment}", *overrides])))


@cache
def counts_of(composer, experiment, *overrides):
    with torch.device("meta"):
        return count(configs_of(composer, experiment, *overrides).model.build(), seq_len=4096)


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_counts_are_the_published_ones(composer, experiment):
    total, active, no_embedding, cached = PUBLISHED[experiment]
    counts = counts_of(composer, experiment)
    assert counts.total_params == total
    assert counts.active_params == (active or total)
    assert counts.active_params_no_embedding == no_embedding
    assert counts.kv_cache_elements_per_token == cached
    assert counts.mtp_params == (V3_MTP_MODULE if experiment in {"deepseek_v3", "deepseek_r1"} else 0)


def test_v3_without_its_mtp_module_is_the_same_network(composer):
    alone, beside = counts_of(composer, "deepseek_v3", "mtp=none"), counts_of(composer, "deepseek_v3")
    assert (alone.mtp_params, beside.mtp_params) == (0, V3_MTP_MODULE)
    assert alone.total_params == beside.total_params
    assert alone.kv_cache_elements_per_token == beside.kv_cache_elements_per_token
    assert alone.flops_per_token < beside.flops_per_token


def test_every_system_of_the_series_is_named(composer):
    assert set(composer.options("experiment")) >= {*PUBLISHED, *MINIS}


@pytest.mark.parametrize("experiment", ["deepseek_llm_7b", "deepseek_v2_lite", "deepseek_v2", "deepseek_v3"])
@pytest.mark.parametrize("attention", ["mha", "gqa", "mqa", "mla"])
def test_the_cache_follows_the_closed_forms(composer, experiment, attention):
    """DeepSeek-V2 Table 1: 2·n_h·d_h·l, 2·n_g·d_h·l, 2·d_h·l and (d_c + d_h^R)·l."""
    sheet = composer.compose([f"experiment={experiment}"]).model
    head_dim = sheet.dim // sheet.n_heads
    layer = {
        "mha": 2 * sheet.n_heads * head_dim,
        "gqa": 2 * sheet.n_kv_heads * head_dim,
        "mqa": 2 * head_dim,
        "mla": sheet.kv_lora_rank + sheet.qk_rope_head_dim,
    }[attention]
    counts = counts_of(composer, experiment, f"attention={attention}", "mtp=none")
    assert counts.kv_cache_elements_per_token == layer * sheet.n_layers


def test_table_9_of_v2(composer):
    """The small MoE keeps 110.6K numbers with MHA and 15.6K with MLA; the large one 34.6K with MLA."""
    small = {kind: counts_of(composer, "deepseek_v2_lite", f"attention={kind}") for kind in ("mha", "mla")}
    assert small["mha"].kv_cache_elements_per_token == 110_592
    assert small["mla"].kv_cache_elements_per_token == 15_552
    assert counts_of(composer, "deepseek_v2").kv_cache_elements_per_token == 34_560


@pytest.mark.parametrize(
    ("experiment", "tokens"),
    [
        ("deepseek_llm_7b", 2e12),
        ("deepseek_llm_67b", 2e12),
        ("deepseek_coder_33b", 2e12),
        ("deepseek_math_7b", 5e11),
        ("deepseek_moe_16b", 2e12),
        ("deepseek_v2_lite", 5.7e12),
        ("deepseek_v2", 8.1e12),
        ("deepseek_coder_v2", 6e12),
        ("deepseek_v3", 14.8e12),
    ],
)
def test_a_recipe_reads_its_tokens(composer, experiment, tokens):
    configs = configs_of(composer, experiment)
    assert configs.data.tokens_in(configs.trainer.max_steps) == pytest.approx(tokens, rel=1e-4)


@pytest.mark.parametrize(
    ("experiment", "at", "factor"),
    [
        ("deepseek_llm_7b", 0.79, 1.0),
        ("deepseek_llm_7b", 0.85, 0.316),
        ("deepseek_v2_lite", 0.79, 1.0),
        ("deepseek_v2", 0.59, 1.0),
        ("deepseek_v2", 0.61, 0.316),
        ("deepseek_v2", 0.91, 0.1),
        ("deepseek_coder_v2", 1.0, 0.1),
        ("deepseek_v3", 0.67, 1.0),
        ("deepseek_v3", 0.97, 0.1),
    ],
)
def test_a_recipe_follows_its_schedule(composer, experiment, at, factor):
    configs = configs_of(composer, experiment)
    steps = configs.trainer.max_steps
    assert configs.schedule.factor(round(at * steps) - 1, steps) == pytest.approx(factor)


def test_balance_comes_with_the_mixture(composer):
    v2, lite, v3 = (configs_of(composer, name).balance for name in ("deepseek_v2", "deepseek_v2_lite", "deepseek_v3"))
    assert (v2.expert_alpha, v2.device_alpha, v2.communication_alpha) == (0.003, 0.05, 0.02)
    assert (v2.n_devices, v2.n_limited_devices) == (8, 3)
    assert (lite.expert_alpha, lite.device_alpha, lite.communication_alpha) == (0.001, 0.0, 0.0)
    assert (v3.bias_update_speed, v3.sequence_wise_alpha, v3.expert_alpha) == (0.001, 1e-4, 0.0)
    swapped = configs_of(composer, "mini_v2", "ffn=moe")
    assert (swapped.balance, swapped.model.ffn.route_scale) == (v3, 1.0)
    for mixture in ("moe_device_limited", "moe_softmax"):
        assert configs_of(composer, "deepseek_v2", f"ffn={mixture}").model.ffn.route_scale == 16.0
