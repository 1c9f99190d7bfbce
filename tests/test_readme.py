"""Every command of the README and of the README files beside the code runs: training with two steps on a little corpus,
the rest as it stands.

A command that this file does not know fails the test, so that no README can promise what nobody tried.
"""

import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from deepseek_lab.metrics import describe

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    ". .venv/bin/activate": "a shell's own affair",
    "scripts/test.sh": "what runs this very test",
    "scripts/quickstart.sh": "test_the_real_quickstart below",
    "tensorboard --logdir logs": "test_tensorboard_starts below",
    "python scripts/benchmark.py all --minutes 90": "tests/benchmarking",
    "python scripts/benchmark.py bars": "tests/benchmarking",
    "python scripts/benchmark.py recompute": "tests/benchmarking",
    "python scripts/benchmark.py sweep": "tests/benchmarking",
    "python scripts/pipeline.py recipe=grpo_quick": "tests/pipeline",
    "python scripts/pipeline.py recipe=mini_r1": "tests/pipeline",
    "python scripts/generate.py checkpoint=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B chat=true": "needs the hub; "
    "tests/experiment reads local folders of the same form",
    "python scripts/generate.py checkpoint=$run chat=true": "tests/experiment/test_continuation.py types for it",
    "python scripts/serve.py checkpoint=$run": "tests/serving",
    "python scripts/train.py data=hub data.corpus.name=roneneldan/TinyStories data.corpus.streaming=true": "tests/data/"
    "test_hub.py reads local folders of the same form",
    "srun --nodes=2 --ntasks-per-node=8 --kill-on-bad-exit=1 python scripts/train.py trainer=fsdp trainer.devices=8 "
    "trainer.nodes=2": "tests/test_several_processes.py starts two ranks as srun does",
}
SEVERAL = re.compile(r"(python|torchrun .*) ?scripts/train\.py trainer=(ddp|fsdp) ")
"""Commands that start processes: each is run in one of its own, on the cores of a CPU."""


PAGES = [ROOT / "README.md", *sorted((ROOT / "src").rglob("README.md"))]


def chapters():
    """The chapters that hold commands, by their titles; each is run by itself."""
    texts = "\n".join(page.read_text() for page in PAGES)
    _, *parts = re.split(r"^##? (.*)$", re.sub(r"^```python\n.*?^```", "", texts, flags=re.M | re.S), flags=re.M)
    return {title: commands(text) for title, text in zip(parts[::2], parts[1::2], strict=True) if commands(text)}


def commands(text=None):
    """The commands of a text, or of all README files."""
    text = "\n".join(page.read_text() for page in PAGES) if text is None else text
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def run_script(arguments, capsys):
    """One script of the project in this process -> exit code and what it printed."""
    script, *rest = arguments
    before = sys.argv
    sys.argv = [script, *rest]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0, capsys.readouterr()
    finally:
        sys.argv = before
    return 0, capsys.readouterr()


def shortened(logs):
    """What every training command gets: two steps, a little text, a folder of the test's own."""
    text = Path(sysconfig.get_paths()["stdlib"]) / "email"
    return [
        *("trainer.max_steps=2", "trainer.validate_every=2", "trainer.validation_batches=1", "trainer.log_every=1"),
        *(f"paths.logs={logs}", f"paths.cache={logs}/cache", f"data.corpus.folder={text}", "tokenizer=bytes"),
    ]


NARROWED = {
    "seed=1,2": ["seed=1"],
    "ablation=attention": ["seed=1", "attention=mha,mla"],
    "ablation=ffn": ["seed=1", "ffn=dense,moe"],
    "ablation=balance": ["seed=1", "balance=sequence_wise,auxiliary_free"],
    "ablation=precision": ["seed=1", "ffn=moe", "precision=bf16,fp8", "model=nano"],
}
"""Fewer jobs of a sweep: the README is tried here; that all of an ablation's jobs run is tests/sweep's affair."""


FEWER_ROWS = {
    "sft": ["data.corpus.n_conversations=60"],
    "distill": ["data.corpus.n_conversations=60"],
    "reward": ["data.corpus.n_pairs=60"],
    "dpo": ["data.corpus.n_pairs=60"],
}
"""Less of what a stage's own data makes."""


def narrowed(words):
    """A sweep with the variants of NARROWED alone; training in this process, for tests/sweep starts real ones."""
    kept = [word for word in words if word != "seed=1,2" and not word.startswith("hydra.launcher.")]
    fewer = [more for word in words for more in NARROWED.get(word, ())]
    launched = ["hydra/launcher=basic", "sweep_report=false"] if words[0] == "scripts/train.py" else []
    return [*kept, *fewer, *launched]


def newest_run(command, logs, capsys):
    """What `run=$(ls -d logs/PATTERN | tail -1)` names, in the test's folder; made where another chapter makes it."""
    pattern = re.search(r"ls -d logs/(\S+)", command)[1]
    if not list(logs.glob(pattern)):
        assert run_script(["scripts/train.py", "model=nano", *shortened(logs)], capsys)[0] == 0
    if not list(logs.glob(pattern)):
        (start,) = (logs / "pretrain" / "runs").iterdir()
        words = [word for word in shortened(logs) if not re.match("tokenizer|data", word)]
        words += ["stage=sft", "model=nano", f"init_from={start}", *FEWER_ROWS["sft"]]
        assert run_script(["scripts/train.py", *words], capsys)[0] == 0
    return str(sorted(logs.glob(pattern))[-1])


def adapted(command, logs, run):
    """The words of a README command, with the test's folder for `logs` and `run` for `$run`."""
    command = command.replace("$run", run)
    command = re.sub(r"(?<=[=\[,])logs/", f"{logs}/", command)
    words = shlex.split(command)[1:]
    if words[0] == "scripts/train.py" and "--help" not in words:
        stage = next((word.removeprefix("stage=") for word in words if word.startswith("stage=")), "")
        # A stage brings its data, and another's tokenizer.
        words += [word for word in shortened(logs) if not (stage and re.match("tokenizer|data", word))]
        words += FEWER_ROWS.get(stage, ())
        if any(word.startswith(("precision=", "ablation=precision")) for word in words):
            words.append("data.seq_len=64")  # emulated FP8 is slow
    if words[0] in ("scripts/train.py", "scripts/plan.py") and re.search(r" -m | ablation=", f" {' '.join(words)} "):
        words = narrowed(words)
    if "stage=grpo" in words or "stage=ppo" in words:
        words += ["data.batch_size=2", "data.questions=8", "data.validation_questions=2", "rollout.max_new_tokens=8"]
        words.append("loss.max_refills=1")
    if words[0] == "scripts/preflight.py":
        words += ["questions=2", "steps=1", "batch_size=2", "rollout.max_new_tokens=8"]
    if "debug=profile" in words:
        words += ["profile.warmup=1", "profile.steps=1"]
    if "data=mixture" in words:
        words = [word.replace("corpus.folder", "corpus.sources.code.folder") for word in words]
        words.append("data.corpus.sources.packages.packages=[hydra]")
    if "experiment=mini_v3_context" in command:
        words += ["data.corpus.n_documents=200", "model=nano"]
    if "prompts=prompts.txt" in words:
        (logs / "prompts.txt").write_text("def main\nimport os\n")
        words = [
            word.replace("=prompts.txt", f"={logs}/prompts.txt").replace("=said", f"={logs}/said") for word in words
        ]
        words.append("max_new_tokens=8")
    if "what=task" in words:
        words += ["attempts.questions=2", "attempts.max_new_tokens=8"]
    if "what=text" in words:
        words.append("text.documents=1")
    if "what=needle" in words:
        words += ["needle.lengths=[64]", "needle.n_depths=2", "needle.trials=1"]
    return words


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_command_is_known():
    unknown = [
        c
        for c in commands()
        if c not in ELSEWHERE and not SEVERAL.match(c) and not re.match(r"(python scripts/\w+\.py |run=\$\(ls )", c)
    ]
    assert not unknown
    assert set(ELSEWHERE) <= set(commands())


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_files_and_overrides_of_the_picture_are_there():
    picture = (ROOT / ".assets" / "architecture.svg").read_text()
    files = [part for text in re.findall(r'class="file"[^>]*>([^<]+)<', picture) for part in text.split(" · ")]
    files = [file for file in files if not file.startswith("files below")]
    folders = [file.rpartition("/")[0] for file in files]
    for number, file in enumerate(files):  # `model/ffn/dense.py · moe.py` names the folder once
        folder = next(had for had in reversed(folders[: number + 1]) if had)
        places = [ROOT / "src/deepseek_lab" / file, ROOT / "src/deepseek_lab" / folder / file]
        assert any(place.exists() for place in places), file
    for group, options in re.findall(r"(\w+)=([\w |]+)", "\n".join(re.findall(r'class="code[^>]*>([^<]+)<', picture))):
        for option in filter(None, map(str.strip, options.split("|"))):
            assert (ROOT / "conf" / group / f"{option}.yaml").exists(), (group, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_curves_that_are_named_are_recorded(page):
    written = re.findall(r"`((?:train|val|moe|mtp|fp8|sft|policy|value|perf)/[a-z0-9_/]+)`", page.read_text())
    for name in written:
        describe(name.replace("layer_N", "layer_1"))


@pytest.mark.parametrize("chapter", chapters())
def test_every_python_command_runs(chapter, tmp_path, capsys):
    run = ""
    for command in chapters()[chapter]:
        if command.startswith("run="):
            run = newest_run(command, tmp_path, capsys)
            continue
        if command in ELSEWHERE or SEVERAL.match(command) or "resume=auto" in command:
            continue
        code, printed = run_script(adapted(command, tmp_path, run), capsys)
        assert code == 0, f"{command}\n{printed.out}\n{printed.err}"


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=pytest.mark.slow if i else ()) for i, c in enumerate(filter(SEVERAL.match, commands()))],
)
def test_every_command_of_several_processes_runs(command, tmp_path):
    words = command.replace("torchrun", f"{sys.executable} -m torch.distributed.run").split()
    words = [sys.executable, *words[1:]] if words[0] == "python" else words
    done = subprocess.run(
        [*words, *shortened(tmp_path), "trainer.accelerator=cpu"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "pretrain" / "runs").iterdir()
    assert (run / "DONE").is_file()


def test_resume_auto_goes_on_with_an_unfinished_run(tmp_path, capsys):
    code, printed = run_script(["scripts/train.py", *shortened(tmp_path), "trainer.checkpoint_every=1"], capsys)
    assert code == 0, printed.err
    (run,) = (tmp_path / "pretrain" / "runs").iterdir()
    newest = sorted((run / "checkpoints").glob("*.ckpt"))[-1]
    newest.unlink()
    (run / "DONE").unlink()
    assert "python scripts/train.py resume=auto" in commands()
    code, printed = run_script(["scripts/train.py", "resume=auto", f"paths.logs={tmp_path}"], capsys)
    assert code == 0, printed.err
    assert newest.is_file()
    assert (run / "DONE").is_file()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_tensorboard_starts():
    done = subprocess.run([sys.executable, "-m", "tensorboard.main", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert tuple(map(int, done.stdout.split(".")[:2])) >= (2, 21)


@pytest.mark.slow
def test_the_real_quickstart():
    done = subprocess.run([str(ROOT / "scripts" / "quickstart.sh")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mla" in done.stdout


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([1, 10, 256]) (80,) (2, 8, 32)\n"
