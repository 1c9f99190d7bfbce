"""Properties every variant keeps: causality, isolated documents, padding, gradients everywhere."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.ffn.experts import Experts
from tests.model.tiny import ATTENTIONS, DIM, FFNS, VOCABULARY, build, config, tokens

TIME = 24
variants = pytest.mark.parametrize(("attention", "ffn"), [(a, f) for a in ATTENTIONS for f in FFNS])


def exact(got, wanted):
    """Equal up to float64 rounding: sums in another order, nothing else."""
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)


def build64(*args, **changes):
    return build(*args, dtype=torch.float64, **changes)


@variants
@torch.no_grad()
def test_a_later_token_never_changes_an_earlier_prediction(attention, ffn):
    model = build64(attention, ffn, mtp=2)
    ids_BT = tokens(2, TIME)
    before = model(ids_BT, mtp=True)
    for changed in (1, 13, TIME - 1):
        other_BT = ids_BT.clone()
        other_BT[:, changed] = (other_BT[:, changed] + 1) % VOCABULARY
        after = model(other_BT, mtp=True)
        exact(after.logits[:, :changed], before.logits[:, :changed])
        assert not torch.allclose(after.logits[:, changed:], before.logits[:, changed:])
        for depth in (1, 2):  # position i of depth k has read token i + k
            seen = max(changed - depth, 0)
            exact(after.mtp_logits(depth)[:, :seen], before.mtp_logits(depth)[:, :seen])
            assert not torch.allclose(after.mtp_logits(depth)[:, seen], before.mtp_logits(depth)[:, seen])


@variants
@torch.no_grad()
def test_isolated_documents_equal_documents_run_alone(attention, ffn):
    model = build(attention, ffn, mtp=1)
    lengths = (9, 4, 11)
    ids_BT = tokens(2, sum(lengths))
    document_BT = torch.arange(3).repeat_interleave(torch.tensor(lengths))[None].expand(2, -1)
    packed = model(ids_BT, document_BT=document_BT, mtp=True)
    start = 0
    for length in lengths:
        alone = model(ids_BT[:, start : start + length], mtp=True)
        # Positions go on counting in the packed row: equal only because RoPE sees differences.
        torch.testing.assert_close(packed.logits[:, start : start + length], alone.logits, atol=1e-4, rtol=0)
        inside = slice(start, start + length - 1)  # the last MTP position of a document reads beyond it
        torch.testing.assert_close(packed.mtp_logits(1)[:, inside], alone.mtp_logits(1), atol=1e-4, rtol=0)
        start += length


@variants
@torch.no_grad()
def test_documents_see_one_another_unless_isolated(attention, ffn):
    model = build64(attention, ffn)
    ids_BT = tokens(1, TIME)
    other_BT = ids_BT.clone()
    other_BT[:, 2] = (other_BT[:, 2] + 1) % VOCABULARY
    document_BT = (torch.arange(TIME) >= 10).long()[None]
    second = slice(10, None)
    assert not torch.allclose(model(ids_BT).logits[:, second], model(other_BT).logits[:, second])
    isolated = [model(x, document_BT=document_BT).logits[:, second] for x in (ids_BT, other_BT)]
    exact(isolated[0], isolated[1])


@variants
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(attention, ffn):
    model = build64(attention, ffn)
    ids_BT = tokens(2, 10)
    alone = model(ids_BT).logits
    for left, right in ((5, 0), (0, 5), (3, 4)):
        padded_BT = torch.nn.functional.pad(ids_BT, (left, right), value=7)
        valid_BT = torch.nn.functional.pad(torch.ones_like(ids_BT, dtype=torch.bool), (left, right), value=False)
        logits = model(padded_BT, valid_BT=valid_BT).logits
        assert logits.isfinite().all()
        exact(logits[:, left : left + 10], alone)


@variants
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_reach_every_parameter(attention, ffn, tied):
    model = build(attention, ffn, mtp=1, tie_embeddings=tied)
    ids_BT = tokens(4, 32)
    output = model(ids_BT, mtp=True)
    loss = torch.nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    loss = loss + torch.nn.functional.cross_entropy(output.mtp_logits(1)[:, :-1].flatten(0, 1), ids_BT[:, 2:].flatten())
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    mixtures = [m for m in model.modules() if isinstance(m, Experts)]
    for experts, statistics in zip(mixtures, output.routing, strict=True):
        for stacked in (experts.gate_up_EXD, experts.down_EDI):
            assert torch.equal(stacked.grad.abs().flatten(1).sum(1) > 0, statistics.load_E > 0)


def test_routing_lists_every_mixture_in_the_order_of_the_routers():
    model = build("gqa", "moe", mtp=1)
    output = model(tokens(2, TIME), mtp=True)
    assert [s.layer for s in output.routing] == [1, 2, 3]  # layer 0 is dense, 3 is the MTP block
    assert len(model.routers()) == 3
    for statistics, router in zip(output.routing, model.routers(), strict=True):
        batch_time = (2, TIME - (statistics.layer == 3))
        assert statistics.affinity_BTE.shape == (*batch_time, 8)
        assert statistics.affinity_BTE.requires_grad
        assert torch.equal(statistics.load_E, torch.bincount(statistics.chosen_BTK.flatten(), minlength=8).float())
        assert torch.equal(router.choose(statistics.affinity_BTE.flatten(0, 1)), statistics.chosen_BTK.flatten(0, 1))


def test_logits_are_the_hidden_states_times_the_head():
    model = build(tie_embeddings=True)
    assert model.head_weight_VD is model.embedding.weight
    output = model(tokens(1, 5))
    torch.testing.assert_close(output.logits, output.hidden_BTD @ model.embedding.weight.T)


def test_weights_survive_a_state_dict_and_repeat_with_the_seed():
    first, second = build(mtp=1, seed=5), build(mtp=1, seed=6)
    ids_BT = tokens(1, 8)
    assert not torch.allclose(first(ids_BT).logits, second(ids_BT).logits)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(ids_BT).logits, second(ids_BT).logits)
    assert torch.equal(build(mtp=1, seed=5)(ids_BT).logits, first(ids_BT).logits)


@variants
def test_builds_on_meta_without_memory(attention, ffn):
    with torch.device("meta"):
        model = config(attention, ffn, 1).build()
        if ffn == "dense":  # torch has no grouped product on meta for fp32
            assert model(torch.zeros(2, 6, dtype=torch.long), mtp=True).logits.shape == (2, 6, VOCABULARY)
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("name", ["dim", "n_layers", "vocab_size", "max_seq_len"])
def test_refuses_sizes_below_one(name):
    with pytest.raises(ConfigError, match=f"^{name} must be at least 1, not 0$"):
        config(**{name: 0})


def test_refuses_a_width_that_the_heads_do_not_cut():
    with pytest.raises(ConfigError, match=r"^n_heads does not cut dim=62 into even heads; 4 does not fit$"):
        config("mha", "dense", dim=DIM - 2).build()
