"""Commands that nobody planned: none ends in a traceback, and what a refusal advises can be typed.

A command is a right one of its script with one to three things made wrong: a key or a choice misspelt, a value of
another type, empty, huge or not finite, brackets, quotes and letters of other scripts, files that are not there,
stages in a wrong order. The number of a command is its seed: `pytest tests/test_random_commands.py -k '[17]'` repeats
one.

The fast commands are read and checked, and what is slow is not begun (training, serving, a recipe); the many slow ones
train too.
"""

import random
import re
import runpy
import shlex
import sys
from functools import cache

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.composition import Composer, dotted_keys

SLOW_PARTS = {
    "train": ("deepseek_lab.experiment", "train"),
    "serve": ("deepseek_lab.serving.serve", "serve"),
    "pipeline": ("deepseek_lab.pipeline", "run"),
    "preflight": ("deepseek_lab.experiment.preflight", "preflight"),
    "rejection_sampling": ("deepseek_lab.pipeline.rejection_sampling", "sample"),
}
"""What a script does once its command line is accepted, where that takes long."""

STAGES = ("pretrain", "sft", "distill", "reward", "dpo", "grpo", "ppo")
TRAINING = (*("model=nano", "tokenizer=bytes", "data.corpus.folder=text"), "trainer.max_steps=1", "data.seq_len=64")
RIGHT = {
    "train": TRAINING,
    "plan": ("model=nano", "tokenizer=bytes"),
    "generate": ("checkpoint=run", "prompt=a", "max_new_tokens=2"),
    "evaluate": ("checkpoint=run", "what=text", "text.path=text", "text.documents=1"),
    "report": ("runs=run", "out=report"),
    "convert": ("checkpoint=run", "out=converted"),
    "inspect_checkpoint": ("checkpoint=run",),
    "serve": ("checkpoint=run",),
    "preflight": ("checkpoint=run", "task=sums"),
    "rejection_sampling": ("checkpoint=run", "task=sums"),
    "pipeline": ("recipe=mini_r1",),
}

WRONG_TYPES = ("abc", "true", "null", "-1", "0", "0.5", "[1,2]", "{a: 1}", "[]", "{}", "1_000", "0x10", "1e3")
EMPTY = ("", "''", " ", "'  '")
NOT_FINITE = ("nan", "inf", "-inf", "1e400")
HUGE = ("1" + "0" * 30, str(2**31), str(2**63), str(2**64), "9" * 400, "a" * 3000)
LETTERS = ("größe", "漢字", "🙂", "e\u0301", "\u202e", "\x00"[:0] + "\x07", "\udcff", "a\nb", "a\tb", "\\", "\\\\n")
BRACKETS = ("[/x]", "[exp", "exp]", "{", "}", "(", "a(b)", "it's", '"', "a,b", "a, b", "${HOME}", "${nope}", "${", "$")
PATHS = ("no/such/file", "~nobody/x", "..", ".", "run/", "text/a.txt", "/dev/null/x", "/proc/x", "a" * 300, "hf://x/y")
VALUES = (*WRONG_TYPES, *EMPTY, *NOT_FINITE, *HUGE, *LETTERS, *BRACKETS, *PATHS)
WORDS = (*("--help?", "-x", "--multirun", "-m", "--cfg", "--cfg=job", "--config-name=nope", "--config-dir=nowhere"),)
WORDS += ("=", "==", "=x", "x", "", " ", "+new=1", "++seed=1", "~seed", "~data", "@", "data@x=y", "-m -m", "a.b.c=1")

SIZES = re.compile(
    r"n_layers|n_heads|dim|depth|vocab|experts|rank|groups|length|tokens|steps|_size|workers|threads|every"
)
"""Keys of which a huge value means much work, which no check can tell from a wish."""

ADVISED = re.compile(r"(?:is quoted: |that it is: |go on: |resume: |with: )(.+)$")


@cache
def keys_of(script):
    """Every dotted key of a script's config, and its groups with their choices."""
    with Composer(PROJECT_ROOT / "conf", script) as composer:
        config = composer.compose([])
        return sorted(map(str, dotted_keys(config))), {str(group): names for group, names in composer.groups().items()}


def misspelt(word, draw):
    """A letter lost, doubled, exchanged with the next or made a capital."""
    place = draw.randrange(len(word))
    letter = word[place]
    changed = draw.choice(["", letter * 2, letter.upper(), word[place + 1 : place + 2] + letter])
    return word[:place] + changed + word[place + 1 + (len(changed) == 2 and changed[1] == letter) :]


def one_wrong(script, draw, tries_sizes):
    """A word that is probably wrong."""
    keys, groups = keys_of(script)
    kind = draw.choice(("value", "value", "value", "key", "choice", "word", "stage"))
    if kind == "word":
        return draw.choice(WORDS)
    if kind == "stage" and script == "train":
        return draw.choice([f"stage={draw.choice(STAGES)}", "init_from=run", "resume=run", "resume=auto"])
    if kind == "choice" and groups:
        group = draw.choice(sorted(groups))
        return f"{group}={draw.choice([misspelt(group, draw), *VALUES])}"
    own = [key for key in keys if not key.startswith("hydra.")]
    key = draw.choice(own if draw.random() < 0.9 else keys)
    if kind == "key":
        return f"{misspelt(key, draw)}={draw.choice(VALUES)}"
    allowed = VALUES if tries_sizes or not SIZES.search(key) else [value for value in VALUES if value not in HUGE]
    return f"{key}={draw.choice(allowed)}"


def command(number, tries_sizes):
    """The script and the words of a command."""
    draw = random.Random(number)
    script = draw.choice(["train"] * 6 + sorted(RIGHT))
    words = list(RIGHT[script])
    if draw.random() < 0.2 and script == "train":
        words[2:3] = [f"stage={draw.choice(STAGES)}", f"init_from={draw.choice(['run', 'no/run', 'text', 'null'])}"]
    if draw.random() < 0.2:
        words.pop(draw.randrange(len(words)))
    for _ in range(draw.randint(1, 3)):
        words.insert(draw.randint(0, len(words)), one_wrong(script, draw, tries_sizes))
    return script, words


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run, some text and a home, where every command is typed."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "text").mkdir()
    for name in "abcdefgh":
        (folder / "text" / f"{name}.py").write_text(f"def {name}(x):\n    return x + {ord(name)}\n" * 200)
    (folder / "text" / "a.txt").write_text("A little text.\n" * 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["scripts/train.py", *TRAINING, "hydra.run.dir=run", "paths.cache=cache"])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(PROJECT_ROOT / "scripts" / "train.py"), run_name="__main__")
    assert stop.value.code == 0
    return folder


def typed(place, script, words, monkeypatch, capsys):
    """The exit code of a command and what it wrote to stderr."""
    inside = [f"paths.logs={place}/logs", f"paths.cache={place}/cache"] if script in ("train", "pipeline") else []
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py", *inside, *words])
    sys.stderr.reconfigure(errors="backslashreplace")  # as a terminal's is made
    sys.stdout.reconfigure(errors="backslashreplace")
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT_ROOT / "scripts" / f"{script}.py"), run_name="__main__")
    return stop.value.code, capsys.readouterr().err


def require_a_plain_answer(script, code, errors, words):
    """One line that says what is wrong where something is, and advice that both grammars read."""
    assert "Traceback" not in errors, (words, errors[-3000:])
    assert code in (0, 1, 2), (words, code)
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    several = script == "plan"  # which has a line for each job of a sweep, on stdout
    assert len(lines) == 1 if code == 2 and not several else len(lines) <= 3, (words, errors)
    for line in errors.splitlines():
        assert "\x1b" not in line
        if advice := ADVISED.search(line):
            said = [word for word in shlex.split(advice[1]) if "=" in word]
            assert said
            OverridesParser.create().parse_overrides(said)


@pytest.mark.parametrize("number", range(150))
def test_a_random_command_is_answered_plainly(number, place, monkeypatch, capsys):
    script, words = command(number, tries_sizes=True)
    if script in SLOW_PARTS:
        module, name = SLOW_PARTS[script]
        monkeypatch.setattr(f"{module}.{name}", lambda config: None)
    require_a_plain_answer(script, *typed(place, script, words, monkeypatch, capsys), words)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1000, 2000))
def test_one_of_a_thousand_random_commands_is_answered_plainly(number, place, monkeypatch, capsys):
    script, words = command(number, tries_sizes=False)
    if script in SLOW_PARTS and script != "train":
        module, name = SLOW_PARTS[script]
        monkeypatch.setattr(f"{module}.{name}", lambda config: None)
    require_a_plain_answer(script, *typed(place, script, words, monkeypatch, capsys), words)
