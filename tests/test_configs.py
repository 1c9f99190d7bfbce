"""Every YAML under conf/ is composed, resolved and made into its Config; a new file is found by itself."""

import inspect
import re
from dataclasses import fields
from functools import cache

import pytest
import yaml
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.config import CheckedConfig, ConfigError
from hydra_plugins.deepseek_lab.launcher import ProcessLauncher

CONF = PROJECT_ROOT / "conf"
ROOTS = sorted(path.stem for path in CONF.glob("*.yaml"))
FILES = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/**/*.yaml"))
LAUNCHERS = [file for file in FILES if file.startswith("hydra/launcher/")]
OPTIONS = [file for file in FILES if file not in LAUNCHERS]
SHARED = {option for option in OPTIONS if option.rpartition("/")[2].startswith("_")}
"""Files that their neighbours build on and that are no choice themselves."""


@pytest.fixture(autouse=True, scope="module")
def _resolvers():
    register_resolvers()


def nodes_with_targets(node):
    """A leaf's node and the nodes inside it that name a class of their own."""
    if "_target_" in node:
        yield node
    for child in node.values():
        if isinstance(child, DictConfig):
            yield from nodes_with_targets(child)


def composed(root, *overrides):
    """The config of one script with some overrides, without Hydra's node."""
    with Composer(CONF, root) as composer:
        return task_config(composer.compose([*overrides, "hydra.mode=RUN"]))


@cache
def groups_of(root):
    """The choice groups of one script."""
    with Composer(CONF, root) as composer:
        return set(composer.groups())


@pytest.mark.parametrize("root", ROOTS)
def test_each_script_has_a_config_that_resolves(root):
    cfg = composed(root)
    missing = OmegaConf.missing_keys(cfg)
    assert missing <= {"checkpoint", "out", "runs"}, "only what a person must name has no default"
    for key in missing:
        OmegaConf.update(cfg, key, "given")
    OmegaConf.resolve(cfg)


def test_every_file_is_a_choice_of_some_script():
    known = set().union(*(groups_of(root) for root in ROOTS))
    assert {option.rpartition("/")[0] for option in OPTIONS} <= known


@pytest.mark.parametrize("option", LAUNCHERS)
def test_each_launcher_composes_and_names_every_knob(option):
    name = option.rpartition("/")[2]
    if name != "process":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with Composer(CONF, "train") as composer:
        launcher = composer.compose([f"hydra/launcher={name}"], RunMode.MULTIRUN).hydra.launcher
    if name == "process":
        knobs = set(inspect.signature(ProcessLauncher.__init__).parameters) - {"self"}
        assert set(launcher) - {"_target_"} == knobs
    else:
        assert launcher._target_.startswith("hydra_plugins.hydra_submitit_launcher.")
        assert ".submitit" in str(OmegaConf.to_container(launcher)["submitit_folder"])


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in SHARED])
def test_each_option_resolves_and_its_config_names_every_knob(option):
    group, _, name = option.rpartition("/")
    root = next(root for root in ROOTS if group in groups_of(root))
    cfg = composed(root, f"{group}={name}")
    missing = OmegaConf.missing_keys(cfg)
    assert {key.split(".")[0] for key in missing} <= {"checkpoint", "data", "stage", "task", "tokenizer"}, (
        "only where something lies has no default"
    )
    for key in missing:
        OmegaConf.update(cfg, key, ["given"] if key == "data.corpus.old" else "given")
    OmegaConf.resolve(cfg)
    for key, leaf in cfg.items():
        for node in nodes_with_targets(leaf) if isinstance(leaf, DictConfig) else []:
            config = instantiate(node, _convert_="all")
            assert isinstance(config, CheckedConfig), f"{key}: its values are checked when it is made"
            knobs = {field.name for field in fields(config)}
            assert knobs == set(node) - {"_target_"}, f"{key}: every knob stands in the YAML with its default"


def named_classes(option):
    """The `_target_` that a file and the neighbours that it builds on name."""
    content = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    bases = [
        name
        for name in content.get("defaults", ())
        if isinstance(name, str) and re.fullmatch(r"\w+", name) and name != "_self_"
    ]
    siblings = [f"{option.rpartition('/')[0]}/{name}" for name in bases]
    inherited = {target for sibling in siblings for target in named_classes(sibling)}
    return inherited | ({content["_target_"]} if "_target_" in content else set())


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in SHARED])
def test_only_leaves_name_classes_and_sheets_and_experiments_do_not(option):
    if option.split("/")[0] in {"model", "experts", "experiment", "ablation", "trainer", "debug"}:
        assert "_target_" not in (CONF / f"{option}.yaml").read_text()
    else:
        (target,) = named_classes(option)
        assert target.startswith("deepseek_lab.")


def test_what_neighbours_share_is_no_choice():
    with pytest.raises(ConfigError, match="has no option '_base'"):
        composed("train", "balance=_base")


def test_no_line_is_longer_than_a_screen():
    long = [(path, n) for path in CONF.rglob("*.yaml") for n, line in enumerate(path.open(), 1) if len(line) > 141]
    assert not long
