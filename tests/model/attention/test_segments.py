"""Attention inside segments against one softmax over everything with a mask, in float64."""

import pytest
import torch

from deepseek_lab.model.attention.segments import Segment, _one_by_one, blocks, cut_segments, segment_attention
from deepseek_lab.model.positions import segments_of

DOCUMENTS = [Segment(0, 5), Segment(5, 6), Segment(6, 300), Segment(300, 310)]
ANSWERS = [
    Segment(0, 150), Segment(150, 157, (0, 150)), Segment(157, 158, (0, 150)), Segment(158, 300, (0, 150)),
    Segment(300, 303), Segment(303, 310, (300, 303)), Segment(310, 315, (300, 303)),
]  # fmt: skip


def masked(q_NHK, k_NGK, v_NGV, segments, scale):
    """Everything with everything; what is not seen is −inf."""
    seen = torch.zeros(len(q_NHK), len(q_NHK), dtype=torch.bool)
    for s in segments:
        seen[s.start : s.end, s.start : s.end] = torch.ones(s.end - s.start, s.end - s.start, dtype=torch.bool).tril()
        seen[s.start : s.end, slice(*s.before)] = True
    sharing = q_NHK.shape[1] // k_NGK.shape[1]
    k_NHK, v_NHV = (x.repeat_interleave(sharing, 1) for x in (k_NGK, v_NGV))
    scores = torch.einsum("nhk,mhk->hnm", q_NHK, k_NHK) * scale
    return torch.einsum("hnm,mhv->nhv", scores.masked_fill(~seen, float("-inf")).softmax(-1), v_NHV)


def with_gradients(attention, heads, key_heads, key_width, value_width, segments):
    draw, n = torch.Generator().manual_seed(3), segments[-1].end
    shapes = ((n, heads, key_width), (n, key_heads, key_width), (n, key_heads, value_width), (n, heads, value_width))
    *inputs, weight = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    for each in inputs:
        each.requires_grad_()
    out = attention(*inputs, segments, 0.3)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), inputs)]


@pytest.mark.parametrize("attention", [segment_attention, _one_by_one])
@pytest.mark.parametrize("segments", [DOCUMENTS, ANSWERS])
@pytest.mark.parametrize(("heads", "key_heads", "widths"), [(5, 5, (8, 6)), (4, 2, (8, 8)), (6, 1, (4, 4))])
def test_values_and_gradients_are_those_of_a_mask(attention, segments, heads, key_heads, widths):
    found = with_gradients(attention, heads, key_heads, *widths, segments)
    expected = with_gradients(masked, heads, key_heads, *widths, segments)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_no_block_is_as_wide_as_all_answers_together():
    prompt, answers = 200, 64
    segments = [Segment(0, prompt)]
    segments += [Segment(at, at + 100, (0, prompt)) for at in range(prompt, prompt + answers * 100, 100)]
    made = blocks(segments)
    assert max(block.n_before + block.n_own for block in made) == prompt + 100
    assert max(block.queries.stop - block.queries.start for block in made) == 128


def test_documents_in_one_piece_are_segments_row_by_row():
    document_BT = torch.tensor([[4, 4, 1, -1], [-1, 7, 7, 7]]).repeat_interleave(64, dim=1)
    ends = [0, 128, 192, 256, 320, 512]
    assert segments_of(document_BT) == tuple(map(Segment, ends, ends[1:]))
    assert segments_of(torch.tensor([[4, 1, 4, 4]]).repeat_interleave(64, dim=1)) is None
    assert segments_of(document_BT[:, :255]) is None, "short rows are quicker with a mask"


def test_segments_are_cut_row_by_row():
    segments = [Segment(0, 3), Segment(3, 6), Segment(6, 11), Segment(11, 12)]
    assert cut_segments(segments, 6, 4) == (Segment(0, 3), Segment(3, 4), Segment(4, 8))
