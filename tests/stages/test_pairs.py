"""DPO and reward stages: their start, their gradients, what they learn, the reference after a resume."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_lab.checkpoint.located import checkpoint_name, latest_checkpoint
from deepseek_lab.checkpoint.native import load_model, load_value_model
from deepseek_lab.config import ConfigError
from deepseek_lab.data.preference import PreferenceData
from deepseek_lab.data.preference_pairs import EmbeddedPreferences
from deepseek_lab.stages.dpo import answer_logprobs
from deepseek_lab.stages.pair_configs import DpoConfig, RewardConfig
from deepseek_lab.stages.reward import answer_rewards
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes
from tiny_conversations import reading_config
from tiny_run import NO_BALANCE, TinyAdamW, Warmup, rows, tiny_trainer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def pair_data(cache: Path, **changed: Any) -> PreferenceData:
    corpus = EmbeddedPreferences.Config(n_pairs=60, wrong_share=0.25, seed=0)
    values = {"corpus": corpus, "cache_dir": str(cache), "seq_len": 200, "batch_size": 8, "validation_share": 0.2}
    return PreferenceData.Config(**{**values, **changed}).build(Bytes.Config(), SMALLEST_VOCABULARY, 1)


def stage_of(config: Any, data: PreferenceData, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    loop = {"optimizer": TinyAdamW(lr=1e-2), "schedule": Warmup(), "seed": 1, "validation_batches": 1}
    return config.build(reading_config().build(), data, NO_BALANCE, isolate_documents=True, **loop)


KINDS = {
    "live": DpoConfig(reference="live"),
    "precomputed": DpoConfig(reference="precomputed"),
    "reward": RewardConfig(),
}


def test_log_probabilities_are_those_of_each_answer_alone(cache: Path) -> None:
    stage = stage_of(KINDS["live"], pair_data(cache))
    (micro,) = stage.data.step_batch(0)
    together = answer_logprobs(stage.model, micro)
    for p in range(8):
        for side in range(2):
            length = int(micro.inside_P2T1[p, side].sum())
            tokens, said = micro.tokens_P2T1[p, side, :length], micro.answer_P2T1[p, side, :length]
            logp = stage.model(tokens[None, :-1]).logits[0].log_softmax(-1)
            alone = logp[torch.arange(length - 1), tokens[1:]][said[1:]].sum()
            torch.testing.assert_close(together[p, side], alone, rtol=1e-4, atol=1e-4)


def test_a_reward_is_read_at_the_last_token_of_its_own_answer(cache: Path) -> None:
    stage = stage_of(KINDS["reward"], pair_data(cache))
    torch.nn.init.normal_(stage.model.value_D)
    (micro,) = stage.data.step_batch(0)
    rewards = answer_rewards(stage.model, micro)
    for p, side in ((0, 0), (3, 1)):
        tokens = micro.tokens_P2T1[p, side, : int(micro.inside_P2T1[p, side].sum())]
        torch.testing.assert_close(rewards[p, side], stage.model(tokens[None])[0][0, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_from_no_preference_and_learns_the_hidden_rule(cache: Path, tmp_path: Path, kind: str) -> None:
    stage = stage_of(KINDS[kind], pair_data(cache))
    tiny_trainer(tmp_path, max_steps=25, validate_every=25, log_every=1, every=100).fit(stage)
    found = rows(tmp_path)
    assert found[0]["train/loss"] == pytest.approx(0.6931, abs=2e-3)
    assert found[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert found[-1]["val/rewards/accuracies"] > 0.7
    assert found[-1]["val/loss"] < 0.6931


def test_both_references_are_one(cache: Path, tmp_path: Path) -> None:
    for kind in ("live", "precomputed"):
        tiny_trainer(tmp_path / kind, max_steps=4, validate_every=2, log_every=1).fit(
            stage_of(KINDS[kind], pair_data(cache))
        )
    live, precomputed = (rows(tmp_path / kind) for kind in ("live", "precomputed"))
    for ours, theirs in zip(live, precomputed, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_depends_on_how_a_step_is_cut(cache: Path, tmp_path: Path, kind: str) -> None:
    found = []
    for size in (8, 1, 2):
        stage = stage_of(KINDS[kind], pair_data(cache, micro_batch_size=size)).double()
        stage.trainer = tiny_trainer(tmp_path)
        if kind == "reward":  # a head of 0 sends no gradient to the network
            torch.nn.init.ones_(stage.model.value_D)
        micros = stage.data.step_batch(0)
        totals = torch.stack([stage.counts(micro) for micro in micros]).sum(0)
        for micro in micros:
            stage.micro_loss(micro, totals)[0].backward()
        gradients = [p.grad for p in stage.model.parameters() if p.grad is not None]
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert found[0].abs().max() > 0
    for cut in found[1:]:
        assert (cut - found[0]).abs().max() < 1e-6 * found[0].abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_run_to_the_bit(cache: Path, tmp_path: Path, kind: str) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    stage = stage_of(KINDS[kind], pair_data(cache))
    tiny_trainer(whole, max_steps=8, every=4).fit(stage)
    (half / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "metrics.jsonl", half)
    shutil.copy(whole / "checkpoints" / checkpoint_name(4), half / "checkpoints")
    again = stage_of(KINDS[kind], pair_data(cache), seed=9)  # its reference must come from the checkpoint
    tiny_trainer(half, max_steps=8, every=4, resume_step=4).fit(again, ckpt_path=latest_checkpoint(half))
    assert rows(half) == rows(whole)
    ours, theirs = again.state_dict(), stage.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    load = load_value_model if kind == "reward" else load_model
    kept = load(half).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in stage.model.state_dict().items())


def test_what_no_loss_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="cdpo and robust read it"):
        DpoConfig(flip_rate=0.1)
    with pytest.raises(ConfigError, match="beta"):
        DpoConfig(beta=0.0)
