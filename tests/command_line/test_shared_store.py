"""Hydra's store is shared by what Hydra copies; configs themselves are still copied."""

import copy

from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from deepseek_lab.command_line.shared_store import share_store


def test_a_copied_source_holds_the_one_store(monkeypatch):
    source = StructuredConfigSource(provider="structured", path="structured://")
    monkeypatch.delattr(ConfigStore, "__deepcopy__", raising=False)
    assert copy.deepcopy(source).store is not ConfigStore.instance(), "Hydra copies it; without that the file can go"
    share_store()
    assert copy.deepcopy(source).store is ConfigStore.instance()
    config = OmegaConf.create({"a": [1]})
    assert copy.deepcopy(config).a is not config.a
