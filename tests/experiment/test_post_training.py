"""The road from a base to a tuned model on the command line: each stage from the run before, and gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_lab.checkpoint.native import read_checkpoint
from tests.experiment.test_training import command

SIZES = (
    *("model.dim=16", "model.n_layers=2", "model.vocab_size=300", "model.n_heads=2", "tokenizer=bytes"),
    *("ffn=moe", "mtp=depth1", "model.n_routed_experts=4", "model.n_activated_experts=2", "model.n_dense_layers=1"),
    *("model.n_expert_groups=1", "model.n_limited_groups=1", "model.moe_intermediate_size=8"),
    *("data.batch_size=2", "trainer.validate_every=2", "trainer.validation_batches=1", "trainer.checkpoint_every=2"),
    *("trainer.n_threads=1", "trainer.max_steps=2"),
)
DRAWN = ("rollout.max_new_tokens=4", "rollout.group_size=2", "data.validation_questions=2", "data.questions=8")
STAGES = {
    "sft": ("data.seq_len=192", "data.corpus.n_conversations=60"),
    "dpo": ("data.seq_len=192", "data.corpus.n_pairs=60"),
    "reward": ("data.seq_len=192", "data.corpus.n_pairs=60"),
    "grpo": DRAWN,
    "ppo": (*DRAWN, "template=chat", "stage.minibatches=2", "rollout.rewards={correct:1.0,format:0.1}"),
}


def weights(run: Path, step: int) -> dict[str, Any]:
    state = read_checkpoint(run / "checkpoints" / f"step_{step:08d}.ckpt")["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("model.")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A pretrained run, and the paths of all runs."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "texts").mkdir()
    for number in range(60):
        (folder / "texts" / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    paths = (f"paths.logs={folder}", f"paths.cache={folder / 'cache'}")
    with pytest.MonkeyPatch.context() as patch:
        words = [*SIZES, *paths, f"data.corpus.folder={folder / 'texts'}", "data.seq_len=32"]
        assert command(words, patch, _Quiet())[0] == 0
    (run,) = (folder / "pretrain" / "runs").iterdir()
    return run, paths


class _Quiet:
    """Stands for pytest's capsys where a fixture of a module runs."""

    def readouterr(self) -> Any:
        return type("Captured", (), {"err": ""})


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_starts_from_a_run_and_goes_on(
    base: Any, stage: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run, paths = base
    words = [*SIZES, *paths, *STAGES[stage], f"stage={stage}", f"init_from={run}"]
    assert command(words, monkeypatch, capsys) == (0, [])
    (tuned,) = (run.parents[2] / stage / "runs").iterdir()
    assert json.loads((tuned / "summary.json").read_text())["metrics"]["val/loss"] > 0
    assert (tuned / "tokenizer.json").read_text() == (run / "tokenizer.json").read_text()
    assert command([f"resume={tuned}", "trainer.max_steps=4"], monkeypatch, capsys) == (0, [])
    assert weights(tuned, 4).keys() == weights(tuned, 2).keys()
    # Four letters of an untrained network are no sum: nothing tells answers apart, and nothing is learnt.
    assert stage in ("grpo", "ppo") or any(
        not tensor.equal(weights(tuned, 2)[name]) for name, tensor in weights(tuned, 4).items()
    )


def test_sharded_networks_do_not_draw(base: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run, paths = base
    words = [*SIZES, *paths, *DRAWN, "stage=grpo", f"init_from={run}", "trainer=fsdp", "trainer.devices=1"]
    assert command(words, monkeypatch, capsys) == (
        2,
        ["error: trainer.strategy = fsdp cannot generate: answers end at different times on each rank"],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stage=sft", "data=python_stdlib"], "data holds text, and stage=sft trains on instructions"),
        (["data=preferences_embedded"], "data=python_stdlib would do"),
        (["stage=dpo"], "init_from is needed: stage=dpo starts from a trained run"),
        (["stage=grpo"], "init_from is needed: stage=grpo starts from a trained run"),
        (
            ["stage=grpo", "init_from=RUN", "data=python_stdlib"],
            "stage.rollout needs rollout=…, of which nothing is chosen",
        ),
        (["stage=grpo", "init_from=RUN", "loss.clip_low=-1"], "loss.clip_low must not be negative"),
        (["stage=grpo", "init_from=RUN", "rollout.top_p=0.9"], "rollout.top_p is unknown"),
        (["stage=sft", "stage.router_bias=fixed"], "stage.router_bias must be one of updated, frozen"),
    ],
)
def test_what_does_not_fit_is_one_line(
    base: Any, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, lines = command([word.replace("RUN", str(base[0])) for word in words], monkeypatch, capsys)
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]
