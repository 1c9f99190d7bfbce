"""What a run was made of."""

import json
import subprocess
from pathlib import Path

from deepseek_lab.callbacks.provenance import Provenance, source_version
from deepseek_lab.checkpoint.located import latest_checkpoint
from deepseek_lab.source import source_hash
from tiny_run import tiny_stage, tiny_trainer


def test_a_run_keeps_what_it_began_with_and_adds_a_resume(tmp_path: Path) -> None:
    stage = tiny_stage()
    first = Provenance(tmp_path, 1, stage.data.manifest, ["scripts/train.py", "attention=mla", "a b"])
    tiny_trainer(tmp_path, max_steps=4, callbacks=[first]).fit(stage)
    content = json.loads((tmp_path / "provenance.json").read_text())
    assert content["command"] == "scripts/train.py attention=mla 'a b'"
    assert content["data"] == {"hash": "tiny-1"}
    assert content["versions"]["torch"].startswith("2.")
    assert content["source"]["hash"] == source_hash()
    assert content["resumed"] == []
    again = Provenance(tmp_path, 1, stage.data.manifest, ["scripts/train.py", "resume=auto"])
    trainer = tiny_trainer(tmp_path, max_steps=6, resume_step=4, callbacks=[again])
    trainer.fit(tiny_stage(), ckpt_path=latest_checkpoint(tmp_path))
    later = json.loads((tmp_path / "provenance.json").read_text())
    assert later["command"] == content["command"]
    assert [(r["step"], r["command"]) for r in later["resumed"]] == [(4, "scripts/train.py resume=auto")]


def test_the_source_is_named_with_its_state(tmp_path: Path) -> None:
    assert source_version(tmp_path / "nowhere") == {"commit": None, "dirty": None}

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "a").write_text("1")
    git("init")
    git("add", "a")
    git("commit", "-m", "one")
    clean = source_version(tmp_path)
    assert clean["dirty"] is False
    assert len(clean["commit"]) == 40
    (tmp_path / "a").write_text("2")
    assert source_version(tmp_path) == {"commit": clean["commit"], "dirty": True}
