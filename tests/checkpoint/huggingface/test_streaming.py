"""What loading costs: memory at most a shard above the model (slow), and each byte read by one of several ranks."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained
from tests.model.tiny import config as tiny
from tests.model.tiny import grouped
from tests.published_folders import tensors_of, write_with_mtp

ROOT = Path(__file__).resolve().parents[3]


def processes(program, *argument_lists):
    """Runs a program once for each list of arguments, at the same time; what each printed, as JSON."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for arguments in argument_lists
    ]  # fmt: skip
    ended = [process.communicate(timeout=300) for process in started]
    assert all(process.returncode == 0 for process in started), [err[-2000:] for _, err in ended]
    return [json.loads(out) for out, _ in ended]


RANK = """
    import hashlib, json, sys
    import torch, torch.distributed as dist
    torch.set_num_threads(1)
    rank, size, folder, meeting, keep = int(sys.argv[1]), 2, sys.argv[2], sys.argv[3], sys.argv[4] == "True"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    from deepseek_lab.checkpoint import load_pretrained
    from deepseek_lab.checkpoint.huggingface.tensor_file import TensorFile
    read, fill = [], TensorFile._fill
    def counted(self, room, entry):
        read.append(entry.name)
        fill(self, room, entry)
    TensorFile._fill = counted
    model = load_pretrained(folder, keep_fp8=keep)
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    print(json.dumps({"read": read, "weights": whole.hexdigest()}))
    dist.barrier()
"""


@pytest.mark.slow
@pytest.mark.parametrize("fp8", [False, True])
def test_of_two_ranks_each_reads_half_and_both_hold_all(fp8, tmp_path):
    write_with_mtp(tmp_path / "there")
    folder = tmp_path / "there"
    if fp8:
        save_pretrained(load_pretrained(folder), tmp_path / "fp8", fp8=True)
        folder = tmp_path / "fp8"
    here = processes(RANK, *[(rank, folder, tmp_path / "meeting", fp8) for rank in range(2)])
    first, second = (set(rank["read"]) for rank in here)
    copies = {name for name in tensors_of(folder) if "embed_tokens" in name or "shared_head.head" in name}
    assert first | second == tensors_of(folder).keys()
    assert (first & second) <= copies
    sizes = {name: tensor.nbytes for name, tensor in tensors_of(folder).items()}
    assert 0.4 < sum(sizes[name] for name in first - copies) / sum(sizes[n] for n in sizes.keys() - copies) < 0.6
    assert here[0]["weights"] == here[1]["weights"]
    assert sum(len(rank["read"]) for rank in here) <= len(tensors_of(folder)) + len(copies)


PEAK = """
    import json, re, sys
    from pathlib import Path
    import torch
    from deepseek_lab.checkpoint import load_pretrained
    from deepseek_lab.checkpoint.huggingface.source import Source
    load_pretrained(sys.argv[2])  # what the first call imports and allocates is not the folder's
    def status(key):
        return 1024 * int(re.search(rf"{key}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    model = load_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[3]))
    peak = status("VmHWM")
    held = sum(p.numel() * p.itemsize for p in model.parameters())
    print(json.dumps({"above": peak - before - held, "held": held}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux' /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gigabyte_of_shards_takes_at_most_one_shard_above_the_model(dtype, tmp_path):
    from deepseek_lab.model.ffn.dense import DenseFeedForward

    sizes = {"dim": 1024, "n_layers": 16, "vocab_size": 8192, "max_seq_len": 256}
    ffn = DenseFeedForward.Config(intermediate_size=4096)
    model = tiny(grouped(4), ffn, **sizes).build()
    save_pretrained(model, tmp_path / "large", shard_bytes=128 * 2**20)
    small = tiny(grouped(4), "dense").build()
    save_pretrained(small, tmp_path / "small")
    shards = [file.stat().st_size for file in (tmp_path / "large").glob("*.safetensors")]
    assert sum(shards) > 1e9
    (found,) = processes(PEAK, (tmp_path / "large", tmp_path / "small", dtype))
    assert found["held"] == sum(p.numel() for p in model.parameters()) * getattr(torch, dtype).itemsize
    assert 0 < found["above"] < max(shards), found
