"""The order of the layers, read from the imports: a file may import only what lies below its own folder.

The table is the project's design; a new folder is entered here before it is filled.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "deepseek_lab"

LAYERS = [
    {"config"},
    {"advice", "disk", "metrics", "processor", "seams", "source", "input_files"},
    {"model", "objectives", "precision", "optim", "tasks", "text"},
    {"generation", "checkpoint", "data", "planning"},
    {"rollout"},
    {"trainer_plugins"},  # one row of the design with the next two: the callbacks of a stage read it, never the reverse
    {"stages"},
    {"callbacks"},
    {"experiment", "sweep", "pipeline", "report", "serving", "command_line", "benchmarking"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TOP = len(LAYERS) - 1
WITH_LIGHTNING = {"trainer_plugins", "stages", "callbacks"} | LAYERS[TOP]
BELOW_THIRD_PARTY = {"torch", "numpy", "tokenizers", "jinja2"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}
MODULES = sorted(SOURCE.rglob("*.py"))


def folder_of(path):
    """The folder (or lone module) of a file under src/deepseek_lab; empty for the package itself."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_names(tree):
    """Every absolute dotted name a module imports, late imports too (`a.b` and `a.b.c` for `from a.b import c`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def complaints(folder, tree):
    """What is wrong with the imports of one module of `folder`."""
    rank = RANK[folder]
    for name in imported_names(tree):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package == "deepseek_lab" and target in RANK and target != folder:
            above = RANK[target] > rank or (RANK[target] == rank and rank != TOP)
            if above:
                yield f"{folder} imports {target}"
        if package in {"hydra", "omegaconf"} and rank != TOP:
            yield f"{folder} knows {package}"
        if package in {"lightning", "pytorch_lightning"} and folder not in WITH_LIGHTNING:
            yield f"{folder} knows lightning"
        if rank <= RANK["model"] and package not in {"deepseek_lab", *BELOW_THIRD_PARTY, *sys.stdlib_module_names}:
            yield f"{folder} needs {package}"
        if folder == "command_line" and package in {"torch", "lightning"}:
            yield f"{folder} imports {package}"
    for node in ast.walk(tree):
        called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
        if called == "Trainer" and rank != TOP:
            yield f"{folder} makes a Trainer"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_strictly_downward(path):
    folder = folder_of(path)
    if folder:
        assert folder in RANK, f"{folder} has no place in the order of the layers"
        assert sorted(set(complaints(folder, ast.parse(path.read_text())))) == []


@pytest.mark.parametrize(
    ("folder", "line", "wrong"),
    [
        ("model", "from deepseek_lab.objectives import kl", True),
        ("model", "import deepseek_lab.data.packing", True),
        ("model", "from deepseek_lab import precision", True),
        ("model", "from deepseek_lab.model.norm import RMSNorm", False),
        ("model", "def late():\n    import hydra", True),
        ("model", "from einops import rearrange", True),
        ("config", "from deepseek_lab.model import norm", True),
        ("data", "from deepseek_lab.text.tokenizer import Bytes", False),
        ("data", "from deepseek_lab.planning import counts", True),
        ("data", "from omegaconf import OmegaConf", True),
        ("stages", "import lightning", False),
        ("stages", "import lightning as L\nL.Trainer()", True),
        ("stages", "from deepseek_lab.callbacks import samples", True),
        ("callbacks", "from deepseek_lab.stages.loop.stage import Stage", False),
        ("planning", "from lightning.pytorch import Callback", True),
        ("experiment", "from lightning import Trainer\nTrainer()\nimport deepseek_lab.stages.loop.stage", False),
        ("command_line", "def late():\n    import torch", True),
    ],
)
def test_the_check_sees_what_it_should(folder, line, wrong):
    assert bool(list(complaints(folder, ast.parse(line)))) == wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_is_short_says_what_it_is_and_is_named_by_its_concept(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(tree) or not text, "a module begins with what it is"
    assert path.stem not in FORBIDDEN_NAMES
    assert path.parent.name not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_checked_configs_keep_their_annotations_as_objects(path):
    tree = ast.parse(path.read_text())
    bases = [ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
    if any(base.endswith("CheckedConfig") for base in bases):
        assert "__future__.annotations" not in list(imported_names(tree))


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_no_script_shadows_a_standard_module(path):
    assert path.stem not in sys.stdlib_module_names


def test_the_plugin_folder_stays_a_namespace():
    assert not (ROOT / "src" / "hydra_plugins" / "__init__.py").exists()
