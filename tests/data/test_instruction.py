"""Instruction data from config to batches: encoded once, the same for any ranks, damage named."""

import pytest
import torch

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.conversation_packing import PADDING
from deepseek_lab.data.embedded_instructions import EmbeddedInstructions
from deepseek_lab.data.instruction import InstructionData
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.text.tokenizer import Bytes


def config(cache, **changed):
    corpus = EmbeddedInstructions.Config(n_conversations=150, seed=0)
    values = {"corpus": corpus, "cache_dir": str(cache), "seq_len": 192, "batch_size": 4, **changed}
    return InstructionData.Config(**values)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def build(cache, seed=1, **changed):
    return config(cache, **changed).build(Bytes.Config(), 300, seed)


def test_a_question_is_never_both_trained_on_and_validated(cache):
    data = build(cache, validation_share=0.2)

    def questions(batches):
        for batch in batches:
            for number in batch.document_BT1.unique().tolist():
                own = (batch.document_BT1 == number) & ~batch.answer_BT1
                yield number, data.tokenizer.decode(batch.tokens_BT1[own].tolist())

    train = {q for k in range(30) for n, q in questions(data.step_batch(k)) if n != PADDING}
    held_out = {q for n, q in questions(data.validation_batches()) if n != PADDING}
    assert len(held_out) > 10
    assert not train & held_out


def test_ranks_share_a_step_out_and_micro_batches_cut_it(cache):
    whole = build(cache).step_batch(3)[0]
    halves = [build(cache, micro_batch_size=1).step_batch(3, rank, 2) for rank in range(2)]
    assert [len(half) for half in halves] == [2, 2]
    together = torch.cat([micro.tokens_BT1 for half in halves for micro in half])
    assert torch.equal(together, whole.tokens_BT1)
    assert not torch.equal(build(cache, seed=2).step_batch(3)[0].tokens_BT1, whole.tokens_BT1)


def test_it_is_encoded_once_and_damage_is_named(tmp_path, monkeypatch):
    first = build(tmp_path)
    monkeypatch.setattr(EmbeddedInstructions, "conversations", None)
    monkeypatch.setattr(EmbeddedInstructions, "identity", first.manifest["content"])
    second = build(tmp_path)
    assert second.manifest == first.manifest
    file = next((tmp_path / "conversations").rglob("train.ids.npy"))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match="is damaged: delete it"):
        build(tmp_path)


def test_what_cannot_be_is_refused(cache):
    with pytest.raises(ConfigError, match="instructions, not StandardLibrary"):
        build(cache, corpus=StandardLibrary.Config())
    with pytest.raises(ConfigError, match="at least 266"):
        config(cache).build(Bytes.Config(), 100, 1)
    with pytest.raises(DataError, match=r"train split holds nothing that fits data\.seq_len = 4: .* no answer is left"):
        build(cache, seq_len=4)
    with pytest.raises(DataError, match=r"the val split is empty: equal questions go the same way"):
        build(cache, validation_share=1e-9)
    with pytest.raises(ConfigError, match="multiple of 3"):
        build(cache).step_batch(0, 0, 3)
