"""Everything that resuming must get right in one data set: a mixture with a stream, FIM and a batch size ramp."""

import json
import random

from deepseek_lab.data.hub import Hub
from deepseek_lab.data.mixture import Mixture
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.text.tokenizer import BytePairEncoding

VOCABULARY = 320


def write_texts(folder):
    """A folder of Python files, and a data set of the hub's form; both small enough to go round several times."""
    draw = random.Random(4)
    (folder / "code").mkdir(parents=True)
    (folder / "prose").mkdir()
    for number in range(40):
        text = "".join(draw.choices(["def f(", "):\n", "return ", "x", " = ", "\n\n"], k=draw.randint(5, 40)))
        (folder / "code" / f"{number}.py").write_text(text)
    rows = [
        {"text": " ".join(draw.choices(["the", "cat", "sat.\n\n", "on", "it"], k=draw.randint(3, 40)))}
        for _ in range(150)
    ]
    (folder / "prose" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def mixed_data(texts, cache, seed=1):
    """Batches of 2 growing to 6; shards of the stream of 7 samples, of which the older are dropped."""
    prose = Hub.Config(
        name=str(texts / "prose"),
        streaming=True,
        held_out_documents=30,
        shard_tokens=96,
        window_shards=2,
        keep_shards=4,
    )
    config = PretrainData.Config(
        corpus=Mixture.Config(
            sources={"code": StandardLibrary.Config(folder=str(texts / "code")), "prose": prose},
            weights={"code": 0.4, "prose": 0.6},
        ),
        cache_dir=str(cache),
        seq_len=12,
        batch_size=6,
        batch_size_start=2,
        batch_ramp_steps=9,
        micro_batch_size=2,
        validation_share=0.2,
        test_share=0.0,
        fim_rate=0.5,
        punctuation_split_rate=0.3,
        n_workers=1,
    )
    tokenizer = BytePairEncoding.Config(vocab_size=VOCABULARY, pre_tokenizer="deepseek_v3")
    return config.build(tokenizer, VOCABULARY, seed)
