"""Every attention with every FFN, with and without MTP, learns one batch by heart."""

import pytest
import torch
import torch.nn.functional as F

from tests.model.tiny import ATTENTIONS, FFNS, VOCABULARY, config, tokens

STEPS, TIME = 80, 16


def losses(model, ids_BT):
    """Mean next-token loss, and that of each MTP depth, in nats."""
    output = model(ids_BT, mtp=True)
    states = [output.logits, *(output.mtp_logits(k + 1) for k in range(len(output.mtp_hidden)))]
    return [
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids_BT[:, 1 + k :].flatten()) for k, logits in enumerate(states)
    ]


@pytest.mark.parametrize("mtp", [0, 1])
@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_overfits_one_batch(attention, ffn, mtp):
    torch.manual_seed(0)
    model = config(attention, ffn, mtp, n_layers=2, init_std=0.05).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    ids_BT = tokens(4, TIME)
    with torch.no_grad():
        assert all(abs(loss - torch.tensor(VOCABULARY).log()) < 0.5 for loss in losses(model, ids_BT))
    for _ in range(STEPS):
        optimizer.zero_grad()
        sum(losses(model, ids_BT)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        assert all(loss < 0.1 for loss in losses(model, ids_BT)), losses(model, ids_BT)
