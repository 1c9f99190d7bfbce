"""Which typed keys of the shape sheet change nothing."""

from omegaconf import OmegaConf

from deepseek_lab.command_line.unread import read_sheet_keys, unread_sheet_keys

SHEET = {
    "dim": 64,
    "head_dim": 16,
    "v_head_dim": "${.head_dim}",
    "width": "${model.dim}",
    "spare": 1,
    "rope": {"base": 1},
}


def _config(**leaves):
    return OmegaConf.create({"model": SHEET, **leaves, "hydra": {"x": "${model.spare}"}})


def test_keys_are_read_by_leaves_by_other_read_keys_and_by_the_network():
    config = _config(attention={"v": "${model.v_head_dim}", "deep": [{"text": "a ${mul:${model.width},2}"}]})
    assert read_sheet_keys(config, ["rope"]) == {"v_head_dim", "head_dim", "width", "dim", "rope"}
    assert read_sheet_keys(_config(attention={"n": 1}), []) == set()


def test_a_key_is_unread_only_when_no_job_reads_it():
    reads = _config(attention={"v": "${model.v_head_dim}"})
    reads_not = _config(attention={"n": 1})
    typed = ["model.v_head_dim", "model.spare", "model.rope.base", "attention.n", "model.spare"]
    assert unread_sheet_keys(typed, [reads_not, reads], ["rope"]) == ["model.spare"]
    assert unread_sheet_keys(typed, [reads_not], ["rope"]) == ["model.v_head_dim", "model.spare"]
