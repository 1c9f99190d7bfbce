"""Fill-in-the-middle moves text and loses none; which documents it cuts is theirs to decide."""

import pytest

from deepseek_lab.data.corpus import Document
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.data.fill_in_middle import cut
from deepseek_lab.text.tokenizer import FIM_BEGIN, FIM_END, FIM_HOLE, Bytes

DOCUMENTS = [Document(f"{number}.py", f"é{number} " * (number % 7 + 1)) for number in range(600)]


def test_the_parts_put_back_are_the_document():
    for document in DOCUMENTS:
        prefix, suffix, middle = cut(document, 1.0)
        assert prefix + middle + suffix == document.text


def test_the_rate_is_met_and_a_higher_one_adds_documents():
    chosen = {rate: {d.name for d in DOCUMENTS if cut(d, rate)} for rate in (0.0, 0.1, 0.5, 1.0)}
    assert [len(chosen[rate]) / 600 for rate in chosen] == pytest.approx([0.0, 0.1, 0.5, 1.0], abs=0.04)
    assert chosen[0.1] < chosen[0.5] < chosen[1.0]


def test_cuts_fall_everywhere_and_belong_to_the_document():
    same = [cut(Document(str(number), "x" * 10), 1.0) for number in range(2000)]
    assert {len(parts.prefix) for parts in same} == {len(parts.suffix) for parts in same} == set(range(11))
    assert cut(Document("a", "text"), 1.0) == cut(Document("a", "text"), 0.9999)


def test_it_is_written_in_psm_order_on_training_documents_only():
    tokenizer = Bytes.Config().build()
    begin, hole, end = (tokenizer.special_ids[name] for name in (FIM_BEGIN, FIM_HOLE, FIM_END))
    encoder = DocumentEncoder(tokenizer, fim_rate=1.0)
    document = Document("a.py", "def f():\n    return 1\n")
    prefix, suffix, middle = (list(part.encode()) for part in cut(document, 1.0))
    train, val = encoder.encode([(document, "train"), (document, "val")])
    assert train.ids.tolist() == [begin, *prefix, hole, *suffix, end, *middle, tokenizer.eos_id]
    assert val.ids.tolist() == [*document.text.encode(), tokenizer.eos_id]
