"""The load of the experts, as a run records it; the formulas are tested in objectives/."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from tiny_run import rows, tiny_stage, tiny_trainer


class Seen(Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.loads = [load for _, load in pl_module.expert_load]
        self.layers = [layer for layer, _ in pl_module.expert_load]
        self.biases = [router.selection_bias_E.norm() for router in pl_module.model.routers()]


def test_what_a_run_records(tmp_path: Path) -> None:
    seen = Seen()
    tiny_trainer(tmp_path, max_steps=3, callbacks=[seen]).fit(tiny_stage())
    row = rows(tmp_path)[-1]
    factors = [float(load.max() / load.mean()) for load in seen.loads]
    assert seen.layers == [1, 2]  # one mixture layer and the MTP module's
    assert int(seen.loads[0].sum()) == 4 * 12 * 2  # rows x positions x experts a token, all micro-batches
    assert row["moe/load_max_over_mean"] == pytest.approx(sum(factors) / 2)
    assert 0 < row["moe/load_entropy"] <= 1
    assert row["moe/bias_norm"] == pytest.approx(float(torch.stack(seen.biases).mean()))


def test_a_dense_model_records_none(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, max_steps=2).fit(tiny_stage(moe=False))
    assert not [name for row in rows(tmp_path) for name in row if name.startswith("moe/")]
