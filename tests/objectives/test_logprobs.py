"""Log-probabilities in chunks equal those of whole logits, in value, gradient and entropy."""

import pytest
import torch

from deepseek_lab.objectives import logprobs
from deepseek_lab.objectives.logprobs import document_logprobs, hidden_logprobs, sequence_logprobs, token_logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("kept", [0, 1 << 22])
def test_chunks_equal_the_whole(temperature, rows, kept, monkeypatch):
    monkeypatch.setattr(logprobs, "_KEPT_LOGITS", kept)
    g = torch.Generator().manual_seed(0)
    targets = torch.randint(11, (2, 5), generator=g)
    results = []
    for chunked in (True, False):
        g = torch.Generator().manual_seed(1)
        hidden, head = (
            torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in ((2, 5, 3), (11, 3))
        )
        if chunked:
            logp, entropy = hidden_logprobs(hidden, head, targets, temperature, rows)
        else:
            logits = hidden @ head.T
            logp = token_logprobs(logits, targets, temperature)
            p = (logits / temperature).softmax(-1)
            entropy = -(p * p.log()).sum(-1)
        (logp * torch.arange(10).view(2, 5)).sum().backward()
        results.append((logp.detach(), entropy.detach(), hidden.grad, head.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_logprobability_of_an_answer_is_the_sum_over_its_tokens():
    logp = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    assert sequence_logprobs(logp, mask).tolist() == [-6.0, -24.0]
    documents = torch.tensor([[0, 0, 1], [1, 2, 2]])
    assert document_logprobs(logp, mask, documents, 3).tolist() == [-2.0, -12.0, -16.0]
