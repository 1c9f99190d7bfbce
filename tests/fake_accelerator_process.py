"""Whole training steps on an accelerator that does not exist: tensors with shapes, dtypes and a device, and no numbers.

A forgotten device, a value read back from the device, an operation that the dtype has not: each raises here as it
would stop, or slow, a GPU. In a process of its own, since torch takes one such device for the life of a process.
Called with `few` or `all`; prints one JSON line a step: what it was, and the error it ended with, or null.
"""

import itertools
import json
import sys
import traceback
from types import SimpleNamespace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from deepseek_lab.model import compiled
from deepseek_lab.model.block import Block
from deepseek_lab.objectives import next_token
from deepseek_lab.stages.pretrain import PretrainStage
from model.tiny import ATTENTIONS, FFNS, config
from tiny_run import tiny_stage

DEVICE = "fakegpu"


class Accelerator:
    """What torch asks of a kind of device in Python."""

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def is_initialized():
        return True

    @staticmethod
    def device_count():
        return 1

    @staticmethod
    def current_device():
        return 0

    @staticmethod
    def _is_in_bad_fork():
        return False

    @staticmethod
    def get_amp_supported_dtype():
        return [torch.bfloat16]


class Alone(PretrainStage):
    """The stage's own training step, with the few calls that Lightning answers. Logged steps read numbers: none is."""

    log_due = False

    def optimizers(self):
        return SimpleNamespace(
            optimizer=self.made, param_groups=self.made.param_groups, zero_grad=self.made.zero_grad, step=self.made.step
        )

    def manual_backward(self, loss):
        loss.backward()

    def require_finite(self):
        """Read at logged steps only where the optimiser guards itself, as the fused one does on a GPU."""


def registered():
    """Makes the device known. Autocast has nothing of its own there: what it does not know falls through."""
    _setup_privateuseone_for_python_backend(DEVICE, Accelerator())
    library = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    library.fallback(torch.library.fallthrough_kernel)
    return library


def step(attention, ffn, depth, precision):
    """One step of a tiny network: forward, loss, backward, clipping, update, selection biases."""
    device, model_config = torch.device(DEVICE), config(attention, ffn, mtp=depth, n_layers=2)
    stage = tiny_stage(isolate_documents=False)
    for name, buffer in stage.named_buffers(recurse=False):  # torch cannot move a module to such a device
        stage._buffers[name] = buffer.to(device)
    with device:
        stage.model = model_config.build().train()
    if (ffn, precision) == ("moe", "fp32"):  # fake kernels of torch's own know bf16 experts only
        compiled.compile_blocks(stage.model)
    stage.__class__ = Alone
    stage.made = stage.configure_optimizers()
    stage._trainer = SimpleNamespace(world_size=1, max_steps=9, strategy=None)
    micros = [micro.to(device) for micro in stage.data.step_batch(0)]
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16"):
        stage.training_step(SimpleNamespace(micro_batches=micros), 0)
    assert {weight.grad.device.type for weight in stage.model.parameters()} == {DEVICE}


def answer(*kind):
    try:
        step(*kind)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"[:400]
    return None


if __name__ == "__main__":
    kept, whole = registered(), torch.compile(Block.forward, backend="aot_eager")
    compiled._compiled_forward = lambda: whole
    # The one read of the device that a step is allowed: which rows of the head's product count, once before it.
    next_token._chunks = lambda weight_N, chunk: (slice(i, i + chunk) for i in range(0, weight_N.shape[0], chunk))
    few = (("gqa", "moe", 0, "fp32"), ("mla", "moe", 1, "bf16"))
    for kind in few if sys.argv[1] == "few" else itertools.product(ATTENTIONS, FFNS, (0, 1), ("fp32", "bf16")):
        with FakeTensorMode(allow_non_fake_inputs=True):
            print(json.dumps([kind, answer(*kind)]), flush=True)
