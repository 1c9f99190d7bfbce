"""A pipeline's folder as a report finds it, without a pipeline: steps that solve a given number of questions."""

import json
from typing import Any

from deepseek_lab.report.road_figures import LENGTH

RIGHT, WRONG = "<think>1+1=2</think><answer>2</answer>", "<answer>3</answer>"
HELD_OUT = {"held_out": "test"}


def rows(n_right, n=20, k=4, prefix="q"):
    """`n` questions of which the first `n_right` are solved at every attempt, the others at one of k."""
    out = []
    for number in range(n):
        right = [True] * k if number < n_right else [*[False] * (k - 1), True]
        said = [RIGHT if ok else WRONG for ok in right]
        votes = ["2" if ok else "3" for ok in right]
        family = "sums" if number % 2 else "countdown"
        out.append(
            {
                "question": f"{prefix}{number}",
                "family": family,
                "said": said,
                "right": right,
                "votes": votes,
                "lengths": [9] * k,
            }
        )
    return out


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def road(folder, scores, seeds=(1,), lengths=(10.0, 20.0), tests=None, steps=None, compare=None, **content):
    """A step for each name of `scores`, with the number of questions that each seed solves of every test.

    tests: their splits; steps: more of single steps: `knobs` of their row, `only` these tests, in `only_seeds`,
    `curves` of theirs
    """
    tests, more, made = tests or HELD_OUT, steps or {}, []
    for seed in seeds:
        for name, solved in scores.items():
            own, extra = folder / f"{name}-{seed}", more.get(name, {})
            own.mkdir(parents=True)
            _curves(own, name, lengths, extra)
            common: dict[str, Any] = {"name": name, "seed": seed, "script": "train", "what": f"the {name}"}
            common |= {"control": False, "done": True, "planned_minutes": 2.0, "seconds": 60.0, "attempts": 1}
            common |= {"flops": 3e12}
            made.append({**common, "test": None, "folder": own.name, **extra.get("knobs", {})})
            for test, split in tests.items():
                if test in extra.get("only", tests) and seed in extra.get("only_seeds", seeds):
                    n_right = solved[seed - 1] if isinstance(solved, list) else solved
                    n_right = n_right[test] if isinstance(n_right, dict) else n_right
                    _test(own / test, n_right, test, split, extra)
                    row = {"test": test, "folder": f"{own.name}/{test}", "script": "evaluate", "flops": 0.0}
                    made.append({**common, **row})
    whole = {"title": "a road", "seeds": list(seeds), "compare": compare or {"rl": ["base"]}}
    whole |= {"tests": dict.fromkeys(tests, "Unseen."), "steps": made, **content}
    (folder / "road.json").write_text(json.dumps(whole))
    return folder


def _curves(own, name, lengths, extra):
    if name == "rl":
        values = [{"reward": 0.5, LENGTH: value, "rewards/correct/mean": 0.5} for value in sorted(lengths * 8)]
        (own / "metrics.jsonl").write_text(lines({"step": n, **value} for n, value in enumerate(values)))
    if "curves" in extra:
        (own / "metrics.jsonl").write_text(lines(extra["curves"]))


def _test(folder, n_right, test, split, extra):
    folder.mkdir()
    prefix = "q" if test == "held_out" else f"{test} "
    (folder / f"eval_t_{split}.jsonl").write_text(lines(rows(n_right, prefix=prefix)))
    if test in extra.get("spent", {}):
        (folder / "spent.json").write_text(json.dumps(extra["spent"][test]))
