"""A value model: what it starts from, where a reward is read, and its way through a checkpoint."""

import pytest
import torch

from deepseek_lab.checkpoint.native import describe, load_model, load_value_model, rebuild
from deepseek_lab.config import DataError
from deepseek_lab.model.value_head import ValueModel, last_values
from tests.model import tiny


@pytest.mark.parametrize("ffn", tiny.FFNS)
def test_it_starts_at_zero_and_learns_in_head_and_backbone(ffn):
    backbone = tiny.build(ffn=ffn)
    model = ValueModel.around(backbone)
    ids = tiny.tokens(2, 7)
    values, routing = model(ids)
    assert values.shape == (2, 7)
    assert values.abs().max() == 0
    assert bool(routing) == (ffn == "moe")
    torch.nn.init.normal_(model.value_D)
    model(ids)[0].sum().backward()
    assert model.value_D.grad.norm() > 0
    assert backbone.embedding.weight.grad.norm() > 0
    assert backbone.head.weight.grad is None


def test_a_reward_is_read_at_the_last_token_and_later_text_does_not_matter():
    values = torch.arange(8.0).view(2, 4)
    documents = torch.tensor([[0, 0, 1, 9], [2, 2, 2, 9]])
    assert last_values(values, documents, 3).tolist() == [1, 2, 6]


def test_packed_answers_have_the_values_of_answers_alone():
    model = ValueModel.around(tiny.build(dtype=torch.float64))
    torch.nn.init.normal_(model.value_D)
    ids, documents = tiny.tokens(1, 9), torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]])
    packed = last_values(model(ids, document_BT=documents)[0], documents, 2)
    alone = [model(part)[0][0, -1] for part in (ids[:, :4], ids[:, 4:])]
    torch.testing.assert_close(packed, torch.stack(alone))


def test_its_config_survives_a_checkpoint():
    config = ValueModel.Config(backbone=tiny.config())
    assert rebuild(describe(config)) == config


def test_a_value_model_is_read_from_its_file_and_not_taken_for_a_transformer(tmp_path):
    model = ValueModel.around(tiny.build())
    torch.nn.init.normal_(model.value_D)
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    path = tmp_path / "step_00000001.ckpt"
    torch.save({"state_dict": weights, "model_config": describe(model.config), "run": {}}, path)
    ids = tiny.tokens(2, 5)
    assert torch.equal(load_value_model(path)(ids)[0], model.eval()(ids)[0])
    with pytest.raises(DataError, match="not a transformer"):
        load_model(path)


def test_a_file_that_promises_more_layers_than_it_holds_is_refused(tmp_path):
    config = ValueModel.Config(backbone=tiny.config(n_layers=1000))
    path = tmp_path / "step_00000001.ckpt"
    torch.save({"state_dict": {"model.value_D": torch.zeros(2)}, "model_config": describe(config), "run": {}}, path)
    with pytest.raises(DataError, match="1000 layers"):
        load_value_model(path)
