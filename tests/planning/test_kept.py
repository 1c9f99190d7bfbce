"""What fake tensors say is kept is what autograd really keeps, to the byte."""

import dataclasses

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from deepseek_lab.model.recompute import recompute
from deepseek_lab.objectives.balance import balance_losses
from deepseek_lab.planning.kept import Kept, fake_tensors, kept_for_backward, make_fake
from deepseek_lab.planning.memory import MicroBatch, kept_by
from tests.model.tiny import LAYERS, VOCABULARY, build, config, mixture
from tiny_run import NO_BALANCE, V3_BALANCE

BATCH = MicroBatch(size=2, seq_len=24, narrow=False, device_type="cpu", isolate_documents=False, repeated=False)


def planned(model_config, batch, balance, how="none"):
    """Kept bytes of a network without numbers."""
    with torch.device("meta"):
        model = model_config.build()
    recompute(model, how)
    with fake_tensors():
        make_fake(model)
        return kept_by(model, balance, batch)


def measured(model_config, batch, balance, how="none"):
    """Kept bytes of a real forward on this CPU, with its own kernels."""
    model = model_config.build()
    recompute(model, how)
    ids_BT = torch.randint(VOCABULARY, (batch.size, batch.seq_len))
    document_BT = torch.zeros_like(ids_BT) if batch.isolate_documents else None

    def forward():
        output = model(ids_BT, document_BT=document_BT, mtp=len(model.mtp) > 0)
        routing = output.routing if balance.has_losses else []
        return output, [balance_losses(r.affinity_BTE, r.chosen_BTK, None, balance) for r in routing]

    forward()  # fills the cache of rotary frequencies
    with torch.autocast("cpu", torch.bfloat16, enabled=batch.narrow):
        return kept_for_backward(forward, model.parameters())


def test_a_product_keeps_its_input_and_of_its_weight_nothing_but_a_narrower_copy():
    linear, x_ND = torch.nn.Linear(8, 4, bias=False), torch.randn(16, 8, requires_grad=True)

    def forward():
        return linear(x_ND * 2).sum()

    assert kept_for_backward(forward, linear.parameters()) == Kept(4 * 16 * 8 + 4, 0)
    with torch.autocast("cpu", torch.bfloat16):
        assert kept_for_backward(forward, linear.parameters()) == Kept(2 * 16 * 8 + 2, 2 * 4 * 8)


def test_what_several_operations_keep_counts_once():
    x_ND = torch.randn(16, 8, requires_grad=True)

    def forward():
        y_ND = x_ND * 2
        return (y_ND.sin() + y_ND.cos() + y_ND.T.sin().T).sum()

    assert kept_for_backward(forward, []) == Kept(4 * 16 * 8 + 4, 0)


def test_what_is_computed_again_is_not_kept():
    """A checkpointed block holds its input alone."""
    linear, x_ND = torch.nn.Linear(8, 8), torch.randn(16, 8, requires_grad=True)

    def forward():
        return checkpoint(lambda y: linear(linear(y).sin()).cos(), x_ND * 2, use_reentrant=False).sum()

    assert kept_for_backward(forward, linear.parameters()).activations == 4 * 16 * 8 + 4


@pytest.mark.parametrize("mtp", [0, 2])
@pytest.mark.parametrize("ffn", ["dense", "moe"])
@pytest.mark.parametrize("attention", ["mha", "gqa", "mqa", "mla"])
def test_every_variant_keeps_what_is_planned(attention, ffn, mtp):
    variant = config(attention, ffn, mtp)
    kept = planned(variant, BATCH, V3_BALANCE)
    assert kept == measured(variant, BATCH, V3_BALANCE)
    assert kept.activations > 0
    assert kept.weight_copies == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("how", ["v3", "block"])
def test_recomputation_keeps_what_is_planned(how, precision):
    batch = dataclasses.replace(BATCH, narrow=precision == "bf16")
    variant = config(
        "gqa", "moe", 0 if precision == "bf16" else 1
    )  # no narrow norms: on a CPU torch keeps more of them
    kept = planned(variant, batch, V3_BALANCE, how)
    assert kept == measured(variant, batch, V3_BALANCE, how)
    assert kept.activations < planned(variant, batch, V3_BALANCE).activations


def test_the_long_kernel_of_a_cpu_keeps_what_is_planned():
    batch = dataclasses.replace(BATCH, seq_len=256)
    assert planned(config("mla"), batch, V3_BALANCE) == measured(config("mla"), batch, V3_BALANCE)


def test_every_layer_keeps_a_mask_of_its_own_and_segments_need_none():
    """Torch adds a mask in the products' dtype; it makes one of a boolean mask at every call."""
    masked = dataclasses.replace(BATCH, isolate_documents=True)
    with_mask, without = (planned(config("gqa"), batch, NO_BALANCE) for batch in (masked, BATCH))
    assert with_mask == measured(config("gqa"), masked, NO_BALANCE)
    assert with_mask.activations - without.activations == LAYERS * 4 * 2 * 24 * 24
    variant = dataclasses.replace(config("gqa"), max_seq_len=264)
    whole, segments = (
        dataclasses.replace(BATCH, seq_len=264, isolate_documents=isolated) for isolated in (False, True)
    )
    kept = planned(variant, segments, NO_BALANCE)
    assert kept == measured(variant, segments, NO_BALANCE)
    assert kept.activations < planned(variant, whole, NO_BALANCE).activations + 4 * 2 * 264 * 264


def test_autocast_keeps_copies_of_the_weights_it_multiplies():
    """Half the bytes of every matrix in a product but the router's, which stays in fp32."""
    narrow = dataclasses.replace(BATCH, narrow=True)
    variant = config("gqa", mixture(router="softmax", norm_topk_prob=False))
    kept = planned(variant, narrow, NO_BALANCE)
    assert kept == measured(variant, narrow, NO_BALANCE)
    multiplied = [
        parameter
        for name, parameter in variant.build().named_parameters()
        if parameter.ndim > 1 and not name.startswith(("embedding", "head")) and "router" not in name
    ]
    assert kept.weight_copies == 2 * sum(parameter.numel() for parameter in multiplied)
    assert kept.activations < planned(variant, BATCH, NO_BALANCE).activations


def test_an_accelerator_needs_no_padded_values():
    """On a CPU the values of MLA are padded to the width of its keys."""
    on_gpu = dataclasses.replace(BATCH, device_type="cuda")
    assert (
        planned(config("mla"), on_gpu, NO_BALANCE).activations < planned(config("mla"), BATCH, NO_BALANCE).activations
    )


def test_planning_leaves_nothing_behind_that_a_real_forward_would_meet():
    wanted = build("mla")(torch.zeros(1, 5, dtype=torch.int64)).logits
    planned(config("mla"), BATCH, V3_BALANCE)
    torch.testing.assert_close(build("mla")(torch.zeros(1, 5, dtype=torch.int64)).logits, wanted)
