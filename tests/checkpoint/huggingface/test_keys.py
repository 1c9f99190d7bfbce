"""The key tables: every number of a network has one place, and tables read forwards are the tables read backwards."""

import pytest
import torch

from deepseek_lab.checkpoint.huggingface.keys import LAYER_ROWS, MTP, TRUNK, copies, places, tensors_of
from tests.model.tiny import LAYERS, build, grouped, latent, mixture

SOFTMAX = mixture(router="softmax", norm_topk_prob=False)
NETWORKS = {
    "llama": {"attention": grouped(2, qkv_bias=True, out_bias=True), "ffn": "dense", "tie_embeddings": True},
    "qwen2": {"attention": grouped(2, qkv_bias=True), "ffn": "dense"},
    "deepseek": {"attention": grouped(2), "ffn": SOFTMAX},
    "deepseek_v2": {"attention": latent(q_lora_rank=None), "ffn": SOFTMAX},
    "deepseek_v3": {"mtp": 2},
}


@pytest.mark.parametrize("family", NETWORKS)
def test_the_places_cover_every_number_once(family):
    tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors_of(build(**NETWORKS[family])).items()}
    found = places(tensors, family, LAYERS)
    for place in found.values():
        view = place.view(tensors[place.ours])
        assert view.is_contiguous()
        view += 1
    assert all((tensor == 1).all() for tensor in tensors.values())
    assert all(name.startswith(("model.", "lm_head.")) for name in found)


def test_a_part_that_a_family_lacks_has_no_place():
    with pytest.raises(KeyError, match="selection_bias"):
        places(tensors_of(build()), "deepseek_v2", LAYERS)
    with pytest.raises(KeyError, match="mtp"):
        places(tensors_of(build("mha", "dense", mtp=1)), "llama", LAYERS)


def test_an_mtp_module_is_the_layer_behind_the_last():
    found = places(tensors_of(build(mtp=1)), "deepseek_v3", LAYERS)
    assert found[f"model.layers.{LAYERS}.eh_proj.weight"].ours == "mtp.0.join.weight"
    assert found[f"model.layers.{LAYERS}.mlp.experts.7.up_proj.weight"].part == 1
    assert f"model.layers.{LAYERS}.embed_tokens.weight" not in found
    assert dict(copies(LAYERS, 1)) == {
        f"model.layers.{LAYERS}.embed_tokens.weight": "embedding.weight",
        f"model.layers.{LAYERS}.shared_head.head.weight": "head.weight",
    }


@pytest.mark.parametrize("rows", [*LAYER_ROWS.values(), TRUNK, MTP])
def test_a_table_names_nothing_twice(rows):
    ours = [row[0] for row in rows]
    theirs = [name for row in rows for name in row[1:]]
    assert len(set(ours)) == len(ours)
    assert len(set(theirs)) == len(theirs)
