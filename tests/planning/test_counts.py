"""Counts against the published figures and torch's own FLOP counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.counts import count
from tests.model import tiny


def latent(heads, q_rank):
    return LatentAttention.Config(
        n_heads=heads, q_lora_rank=q_rank, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )


def mixture(**kwargs):
    return MixtureOfExperts.Config(**kwargs)


V3 = {
    "dim": 7168, "n_layers": 61, "vocab_size": 129280, "attention": latent(128, 1536),
    "ffn": mixture(
        n_routed_experts=256, n_activated_experts=8, n_shared_experts=1, n_dense_layers=3, moe_intermediate_size=2048,
        intermediate_size=18432, n_expert_groups=8, n_limited_groups=4, route_scale=2.5,
    ),
}  # fmt: skip
V2_LITE = {
    "dim": 2048, "n_layers": 27, "vocab_size": 102400, "attention": latent(16, None),
    "ffn": mixture(
        router="softmax", n_routed_experts=64, n_activated_experts=6, n_shared_experts=2, n_dense_layers=1,
        moe_intermediate_size=1408, intermediate_size=10944, norm_topk_prob=False,
    ),
}  # fmt: skip
LLM_67B = {
    "dim": 8192, "n_layers": 95, "vocab_size": 102400, "attention": GroupedAttention.Config(n_heads=64, n_kv_heads=8),
    "ffn": DenseFeedForward.Config(intermediate_size=22016),
}  # fmt: skip
MOE_16B = {
    "dim": 2048, "n_layers": 28, "vocab_size": 102400, "attention": GroupedAttention.Config(n_heads=16, n_kv_heads=16),
    "ffn": mixture(
        router="softmax", n_routed_experts=64, n_activated_experts=6, n_shared_experts=2, n_dense_layers=1,
        moe_intermediate_size=1408, intermediate_size=10944, norm_topk_prob=False,
    ),
}  # fmt: skip


def on_meta(depth=0, **shape):
    with torch.device("meta"):
        mtp = MultiTokenPrediction.Config(depth=depth)
        return Transformer.Config(**shape, rope=RopeConfig(), mtp=mtp).build()


@pytest.mark.parametrize(
    ("shape", "total", "active", "no_embedding", "kv"),
    [
        (V3, 671_026_404_352, 37_552_282_624, 36_625_603_584, 35_136),
        (V2_LITE, 15_706_484_224, 2_661_150_208, 2_451_435_008, 15_552),
        (LLM_67B, 67_425_001_472, 67_425_001_472, 66_586_140_672, 194_560),
        (MOE_16B, 16_375_728_128, 2_828_650_496, 2_618_935_296, 114_688),
    ],
    ids=["v3", "v2_lite", "llm_67b", "moe_16b"],
)
def test_counts_of_published_models(shape, total, active, no_embedding, kv):
    counts = count(on_meta(**shape), seq_len=4096)
    assert counts.total_params == total
    assert counts.active_params == active
    assert counts.active_params_no_embedding == no_embedding
    assert counts.kv_cache_elements_per_token == kv
    assert counts.mtp_params == 0


def test_mtp_module_of_v3_is_counted_apart():
    counts = count(on_meta(depth=1, **V3), seq_len=4096)
    assert counts.mtp_params == 11_610_067_968
    assert counts.total_params == 671_026_404_352


@pytest.mark.parametrize("mtp", [0, 1, 2])
@pytest.mark.parametrize("ffn", ["dense", "moe"])
@pytest.mark.parametrize("attention", ["mha", "gqa", "mqa", "mla"])
def test_flops_agree_with_torchs_counter(attention, ffn, mtp):
    """Torch counts the whole T×T square where we count its causal half: the other half is added before comparing.

    Its plain attention kernel is two products forward and four backward, the minimum that we count. In float64 the
    experts run one by one, because its counter does not know the grouped product; values as wide as keys need no
    padding, which it would count.
    """
    seq_len = 192
    chosen = tiny.latent(v_head_dim=24) if attention == "mla" else attention
    model = tiny.build(chosen, ffn, mtp, dtype=torch.float64)
    ids_BT = tiny.tokens(1, seq_len)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(ids_BT, mtp=mtp > 0)
        (output.logits.sum() + sum(output.mtp_logits(k + 1).sum() for k in range(mtp))).backward()
    blocks = [*model.blocks, *(module.block for module in model.mtp)]
    width = sum(block.attention.score_and_value_width() for block in blocks)
    ours = seq_len * (count(model, seq_len).flops_per_token + 3 * 2 * width * (seq_len - 1) / 2)
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.01)
