"""The matrix multiplications that a precision recipe may replace.

`nn.Linear` is one such seam already; the experts of a mixture need a second, because all experts
of a layer run as one grouped product over a stacked weight. The model calls these modules and
never says which number format they compute in: `precision.apply` swaps them on a built model.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class GroupedMatmul(nn.Module):
    """Rows sorted by expert times each expert's own matrix, in one call.

    Holds no weight: the parameters stay where the model names them.
    """

    def forward(self, x_ND: Tensor, weight_EOD: Tensor, offsets_E: Tensor) -> Tensor:
        """(N, D) rows, (E, O, D) weights, (E,) int32 running ends of each expert's rows -> (N, O).

        An expert may have no rows. The gradient that reaches the result must not have stride 0
        (torch's kernel refuses an expanded gradient), so `contiguous` gives it real memory.
        """
        y_NO: Tensor = F.grouped_mm(x_ND, weight_EOD.transpose(-2, -1), offs=offsets_E)
        return y_NO
