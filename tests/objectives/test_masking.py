"""Targets are the next tokens; isolated documents do not predict one another."""

import pytest
import torch

from deepseek_lab.objectives.masking import next_token_targets

TOKENS = torch.tensor([[10, 11, 12, 13, 14], [20, 21, 22, 23, 24]])
DOCUMENTS = torch.tensor([[0, 0, 1, 1, 1], [2, 2, 2, 2, 3]])


def test_targets_are_the_next_tokens():
    targets, valid = next_token_targets(TOKENS, None, isolate=False)
    assert targets.tolist() == [[11, 12, 13, 14], [21, 22, 23, 24]]
    assert valid.all()
    assert valid.dtype == torch.bool


def test_documents_are_ignored_unless_isolated():
    assert next_token_targets(TOKENS, DOCUMENTS, isolate=False)[1].all()


def test_isolated_documents_do_not_predict_one_another():
    targets, valid = next_token_targets(TOKENS, DOCUMENTS, isolate=True)
    assert targets.tolist() == [[11, 12, 13, 14], [21, 22, 23, 24]]
    assert valid.tolist() == [[True, False, True, True], [True, True, True, False]]


def test_isolation_needs_documents():
    with pytest.raises(ValueError, match="document"):
        next_token_targets(TOKENS, None, isolate=True)
