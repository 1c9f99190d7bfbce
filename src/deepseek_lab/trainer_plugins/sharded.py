"""FSDP2: each rank holds a share of every weight, gradient and optimiser state (ZeRO stage 3).

`shard` applies torch's `fully_shard` block by block: a block's weights are gathered just before it runs, in
both passes, and let go after. Embedding, final norm and head form the outermost unit, which stays gathered
from the forward to the end of the backward, so that the chunked loss may read the head outside of any module.

`ShardedStrategy` writes and reads the same single file as one process does: Lightning's own would renumber
the optimiser's parameters in the order of the model instead of the optimiser's groups. Left out: one file a
rank (torch's metadata for them is pickled, and only the same strategy could go on from it), tensor
parallelism, offloading.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from deepseek_lab.optim.shares import share_of, whole_of
from deepseek_lab.trainer_plugins.launcher import launcher


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shards a Transformer over the ranks of `mesh`, in place, names kept; a second call does nothing."""
    if isinstance(model, FSDPModule):
        return
    for name in ("blocks", "mtp"):
        for unit in model.get_submodule(name).children():
            fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(value: Any, keep: bool) -> Any:
    """Nested containers with every sharded tensor gathered, on the CPU where kept; a call for all ranks at once."""
    if isinstance(value, DTensor):
        full = whole_of(value)
        return full.cpu() if keep else None
    if isinstance(value, dict):
        return {key: whole(item, keep) for key, item in value.items()}
    return [whole(item, keep) for item in value] if isinstance(value, list) else value


class ShardedStrategy(ModelParallelStrategy):
    """`Trainer(strategy=ShardedStrategy(ranks))` for a stage whose `configure_model` calls `shard`."""

    lightning_restore_optimizer = True

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def _configure_launcher(self) -> None:
        environment: Any = self.cluster_environment
        self._launcher: Any = launcher(environment, self.num_processes, self.num_nodes)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights on rank 0, nothing on the others."""
        weights = whole(dict(self._stage().state_dict()), self.is_global_zero)
        return weights if self.is_global_zero else {}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """The whole state on rank 0, laid out as `optimizer.state_dict()` is; nothing on the others."""
        state = whole(getattr(optimizer, "_optimizer", optimizer).state_dict(), self.is_global_zero)
        return state if self.is_global_zero else {}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Every rank reads the one file."""
        content: dict[str, Any] = self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)
        return content

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Takes this rank's share of the weights."""
        ours = self._stage().state_dict()
        saved = {name: share_of(full, ours.get(name)) for name, full in checkpoint["state_dict"].items()}
        self._stage().load_state_dict(saved, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes this rank's share of the optimiser's state; its parameters are numbered through its groups."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            state = {
                number: {name: share_of(value, weights[number]) for name, value in values.items()}
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})

    def _stage(self) -> Any:
        return self.lightning_module
