"""Every form of rows × every stage that reads rows: tokens and marks as written by hand, or refused with the row.

By hand: `<b> <U> <A> <e> <t> </t>` are control tokens, what stands in `{…}` is learnt. Forms are those of TRL's page on
data sets (each plain and conversational), ShareGPT's, Alpaca's, hh-rlhf's, and what OpenAI's messages hold.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepseek_lab.config import DataError
from deepseek_lab.data.chat_rows import conversation_of, pair_of
from deepseek_lab.data.conversation_files import ConversationFiles
from deepseek_lab.data.conversation_packing import PADDING
from deepseek_lab.data.instruction import InstructionData
from deepseek_lab.data.preference import PreferenceData
from deepseek_lab.data.preference_pairs import PairFiles
from deepseek_lab.experiment.prompts import read_prompts
from deepseek_lab.stages.distill_config import DistillConfig
from deepseek_lab.stages.pair_configs import DpoConfig, RewardConfig
from deepseek_lab.stages.sft_config import SftConfig
from deepseek_lab.tasks.gsm8k import GradeSchoolMath
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.tokenizer import Bytes

CONTROL = {
    "<b>": "<｜begin▁of▁sentence｜>",
    "<U>": "<｜User｜>",
    "<A>": "<｜Assistant｜>",
    "<e>": "<｜end▁of▁sentence｜>",
    "<t>": "<think>",
    "</t>": "</think>",
}


def turns(*texts, system=None):
    roles = ("user", "assistant") * 4
    head = [] if system is None else [{"role": "system", "content": system}]
    return [*head, *({"role": role, "content": text} for role, text in zip(roles, texts, strict=False))]


def answer(text, **more):
    return [{"role": "assistant", "content": text, **more}]


def gpt(*texts):
    return [{"from": who, "value": text} for who, text in zip(("human", "gpt") * 4, texts, strict=False)]


CALL = [{"type": "function", "function": {"name": "weather", "arguments": "{}"}}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]

# form: (row, what sft and distill learn, what reward and dpo learn, what generate continues); a tuple that begins with
# "refused" names the cause
NO_PAIR = ("refused", "has no 'chosen'")
SFT_ONLY = "a pair is read by data=preferences"
FORMS = {
    "language modelling, plain": ({"text": "The sky is blue."}, ("refused", "data=text_files"), NO_PAIR, None),
    "language modelling, conversational": (
        {"messages": turns("q", "a", "r", "b")},
        "<b><U>q<A>{a<e>}<U>r<A>{b<e>}",
        NO_PAIR,
        "<b><U>q<A>a<e><U>r<A>b<e><A>",
    ),
    "prompt only, plain": ({"prompt": "The sky"}, ("refused", "a question without an answer"), NO_PAIR, "The sky"),
    "prompt only, conversational": (
        {"prompt": turns("q")},
        ("refused", "a question without an answer"),
        NO_PAIR,
        "<b><U>q<A>",
    ),
    "prompt and completion, plain": (
        {"prompt": "The sky is", "completion": " blue."},
        "<b><U>The sky is<A>{ blue.<e>}",
        NO_PAIR,
        "The sky is",
    ),
    "prompt and completion, conversational": (
        {"prompt": turns("q", "a", "r", system="s"), "completion": answer("b")},
        "<b>s<U>q<A>a<e><U>r<A>{b<e>}",
        NO_PAIR,
        "<b>s<U>q<A>a<e><U>r<A>",
    ),
    "prompt of text, completion of messages": (
        {"prompt": "q", "completion": answer("a")},
        "<b><U>q<A>{a<e>}",
        NO_PAIR,
        "q",
    ),
    "preference, plain": (
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        ("refused", SFT_ONLY),
        ("<b><U>The sky is<A>{ blue.<e>}", "<b><U>The sky is<A>{ green.<e>}"),
        "The sky is",
    ),
    "preference, plain, implicit prompt": (
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        ("refused", SFT_ONLY),
        ("<b><U>The sky is<A>{ blue.<e>}", "<b><U>The sky is<A>{ black.<e>}"),
        None,
    ),
    "preference, conversational": (
        {"prompt": turns("q"), "chosen": answer("a"), "rejected": answer("b")},
        ("refused", SFT_ONLY),
        ("<b><U>q<A>{a<e>}", "<b><U>q<A>{b<e>}"),
        "<b><U>q<A>",
    ),
    "preference, conversational, implicit prompt": (
        {"chosen": turns("q", "x", "r", "a", system="s"), "rejected": turns("q", "x", "r", "b", system="s")},
        ("refused", SFT_ONLY),
        ("<b>s<U>q<A>x<e><U>r<A>{a<e>}", "<b>s<U>q<A>x<e><U>r<A>{b<e>}"),
        None,
    ),
    "preference, prompt of text, answers of messages": (
        {"prompt": "q", "chosen": answer("a"), "rejected": answer("b")},
        ("refused", SFT_ONLY),
        ("<b><U>q<A>{a<e>}", "<b><U>q<A>{b<e>}"),
        "q",
    ),
    "preference, prompt of text that the answers repeat": (
        {"prompt": "q", "chosen": turns("q", "a", system="s"), "rejected": turns("q", "b", system="s")},
        ("refused", SFT_ONLY),
        ("<b>s<U>q<A>{a<e>}", "<b>s<U>q<A>{b<e>}"),
        "q",
    ),
    "preference, ShareGPT": (
        {"conversations": gpt("q"), "chosen": gpt("q", "a")[1], "rejected": gpt("q", "b")[1]},
        "refused",
        ("<b><U>q<A>{a<e>}", "<b><U>q<A>{b<e>}"),
        "<b><U>q<A>",
    ),
    "preference with system and question": (
        {"system": "s", "question": "q", "chosen": "a", "rejected": "b"},
        ("refused", SFT_ONLY),
        ("<b>s<U>q<A>{a<e>}", "<b>s<U>q<A>{b<e>}"),
        "<b>s<U>q<A>",
    ),
    "preference, hh-rlhf": (
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        ("refused", SFT_ONLY),
        ("<b><U>q<A>{a<e>}", "<b><U>q<A>{b<e>}"),
        None,
    ),
    "preference, hh-rlhf, longer": (
        {
            "chosen": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant: b",
        },
        ("refused", SFT_ONLY),
        ("<b><U>q<A>x<e><U>r<A>{a<e>}", "<b><U>q<A>x<e><U>r<A>{b<e>}"),
        None,
    ),
    "preference, hh-rlhf with its prompt": (
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"},
        ("refused", SFT_ONLY),
        ("<b><U>q<A>{a<e>}", "<b><U>q<A>{b<e>}"),
        "\n\nHuman: q\n\nAssistant:",
    ),
    "unpaired preference, plain": (
        {"prompt": "q", "completion": "a", "label": True},
        "<b><U>q<A>{a<e>}",
        ("refused", "an answer with a label is no pair"),
        "q",
    ),
    "unpaired preference, conversational": (
        {"prompt": turns("q"), "completion": answer("a"), "label": True},
        "<b><U>q<A>{a<e>}",
        ("refused", "an answer with a label is no pair"),
        "<b><U>q<A>",
    ),
    "stepwise supervision": (
        {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
        ("refused", "judges single steps"),
        ("refused", "judges single steps"),
        ("refused", "judges single steps"),
    ),
    "ShareGPT": (
        {"conversations": gpt("q", "a", "r", "b")},
        "<b><U>q<A>{a<e>}<U>r<A>{b<e>}",
        NO_PAIR,
        "<b><U>q<A>a<e><U>r<A>b<e><A>",
    ),
    "Alpaca": (
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        "<b><U>Add.\n1 2<A>{3<e>}",
        NO_PAIR,
        "Add.\n1 2",
    ),
    "Alpaca without input": (
        {"instruction": "Greet.", "input": "", "output": "Hi", "system": ""},
        "<b><U>Greet.<A>{Hi<e>}",
        NO_PAIR,
        "Greet.",
    ),
    "question and answer": ({"question": "q", "answer": "a"}, "<b><U>q<A>{a<e>}", NO_PAIR, "q"),
    "a column system": (
        {"system": "s", "messages": turns("q", "a")},
        "<b>s<U>q<A>{a<e>}",
        NO_PAIR,
        "<b>s<U>q<A>a<e><A>",
    ),
    "a thought": (
        {"messages": turns("q") + answer("4", reasoning_content="2+2")},
        "<b><U>q<A>{<t>\n2+2\n</t>\n\n4<e>}",
        NO_PAIR,
        "<b><U>q<A><t>\n2+2\n</t>\n\n4<e><A>",
    ),
    "thoughts of two turns": (
        {"messages": turns("q") + answer("a", reasoning_content="x") + turns("r") + answer("b", thinking="y")},
        "<b><U>q<A>{a<e>}<U>r<A>{<t>\ny\n</t>\n\nb<e>}",
        NO_PAIR,
        "<b><U>q<A>a<e><U>r<A><t>\ny\n</t>\n\nb<e><A>",
    ),
    "a thought in the content": (
        {"messages": turns("q", "<think>x</think>a", "say <think>", "<think>\ny</think> b")},
        "<b><U>q<A>{a<e>}<U>say <think><A>{<t>\ny</t> b<e>}",
        NO_PAIR,
        ...,  # what is shown of it is the template's affair (tests/text)
    ),
    "a thought in a pair": (
        {"prompt": "q", "chosen": answer("a", reasoning_content="x"), "rejected": answer("b", reasoning_content="")},
        ("refused", SFT_ONLY),
        ("<b><U>q<A>{<t>\nx\n</t>\n\na<e>}", "<b><U>q<A>{b<e>}"),
        "q",
    ),
    "weights": (
        {"messages": turns("q") + answer("a", weight=0) + turns("r") + answer("b", weight=1)},
        "<b><U>q<A>a<e><U>r<A>{b<e>}",
        NO_PAIR,
        "<b><U>q<A>a<e><U>r<A>b<e><A>",
    ),
    "contents of parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            ]
        },
        "<b><U>qr<A>{a<e>}",
        NO_PAIR,
        "<b><U>qr<A>a<e><A>",
    ),
    "contents with an image": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, *answer("a")]},
        ("refused", "of type text, not 'image'"),
        NO_PAIR,
        ("refused", "of type text, not 'image'"),
    ),
    "an empty answer": ({"messages": turns("q", "")}, "<b><U>q<A>{<e>}", NO_PAIR, "<b><U>q<A><e><A>"),
    "fields that hold nothing": (
        {
            "messages": [{"role": "user", "content": "q", "tool_calls": None}, *answer("a", tool_calls=[], name=None)],
            "tools": "[]",
            "images": [],
            "chosen": None,
        },
        "<b><U>q<A>{a<e>}",
        NO_PAIR,
        "<b><U>q<A>a<e><A>",
    ),
    "a prompt beside its messages": (
        {"prompt": "q", "messages": turns("q", "a")},
        "<b><U>q<A>{a<e>}",
        NO_PAIR,
        ("refused", "not both"),
    ),
    "a call of a tool": (
        {"messages": turns("q") + answer(None, tool_calls=CALL)},
        ("refused", "'tool_calls', which no chat format here writes"),
        NO_PAIR,
        ("refused", "'tool_calls', which no chat format here writes"),
    ),
    "what a tool said": (
        {"messages": [*turns("q"), {"role": "tool", "content": "rain"}, *answer("It rains.")]},
        ("refused", "not 'tool'"),
        NO_PAIR,
        ("refused", "not 'tool'"),
    ),
    "tools": (
        {"messages": turns("q", "a"), "tools": TOOLS},
        ("refused", "has 'tools'"),
        ("refused", "has 'tools'"),
        ("refused", "has 'tools'"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return Bytes.Config().build()


def by_hand(text, tokenizer):
    """(ids, whether each is learnt) of a text as above."""
    ids, learnt, inside = [], [], False
    while text:
        if text[0] in "{}":
            inside, text = text[0] == "{", text[1:]
            continue
        mark = next((mark for mark in CONTROL if text.startswith(mark)), None)
        piece = [tokenizer.special_ids[CONTROL[mark]]] if mark else tokenizer.encode(text[0])
        ids += piece
        learnt += [inside] * len(piece)
        text = text[len(mark or text[0]) :]
    return ids, learnt


def written(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def data(kind, corpus, folder, rows, **changed):
    values = {"validation_share": 0.0, "test_share": 0.0, "seq_len": 128, "batch_size": 1, **changed}
    path = written(folder, *rows)
    config = kind.Config(corpus=corpus.Config(path=path), cache_dir=str(folder / "cache"), **values)
    return config.build(Bytes.Config(), 300, 1)


def refusal(expected):
    return expected[1] if isinstance(expected, tuple) and expected[0] == "refused" else None


FILLER_PAIR = {"prompt": "?", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize("form", FORMS)
def test_sft_and_distillation_learn_the_tokens_written_by_hand(form, tmp_path, tokenizer):
    assert SftConfig.data_kind == DistillConfig.data_kind == InstructionData.Config.kind
    row, expected, *_ = FORMS[form]
    if expected == "refused" or refusal(expected):
        with pytest.raises(DataError, match=r"rows\.jsonl, line 2.*" + (refusal(expected) or "")):
            data(InstructionData, ConversationFiles, tmp_path, [{"prompt": "?", "completion": "a"}, row])
        return
    (batch,) = data(InstructionData, ConversationFiles, tmp_path, [row]).step_batch(0)
    own = batch.document_BT1[0] != PADDING
    assert (batch.tokens_BT1[0][own].tolist(), batch.answer_BT1[0][own].tolist()) == by_hand(expected, tokenizer)
    assert not batch.answer_BT1[0][~own].any()


@pytest.mark.parametrize("form", FORMS)
def test_reward_and_dpo_learn_the_tokens_written_by_hand(form, tmp_path, tokenizer):
    assert RewardConfig.data_kind == DpoConfig.data_kind == PreferenceData.Config.kind
    row, _, expected, _ = FORMS[form]
    if cause := refusal(expected):
        with pytest.raises(DataError, match=rf"rows\.jsonl, line 2.*{cause}"):
            data(PreferenceData, PairFiles, tmp_path, [FILLER_PAIR, row])
        return
    (batch,) = data(PreferenceData, PairFiles, tmp_path, [row]).step_batch(0)
    for side, text in enumerate(expected):
        inside = batch.inside_P2T1[0, side]
        said = batch.tokens_P2T1[0, side][inside].tolist(), batch.answer_P2T1[0, side][inside].tolist()
        assert said == by_hand(text, tokenizer)


@pytest.mark.parametrize("form", FORMS)
def test_generation_continues_the_tokens_written_by_hand(form, tmp_path, tokenizer):
    row, _, _, expected = FORMS[form]
    path = written(tmp_path, {"prompt": "?"}, row)
    if expected is None or refusal(expected):
        with pytest.raises(
            DataError, match=r"rows\.jsonl.*2.*" + (refusal(expected) or 'needs "prompt" or "messages"')
        ):
            read_prompts(path)
        return
    prompt = read_prompts(path)[1]
    if expected is ...:
        assert [message.content for message in prompt.messages] == [turn["content"] for turn in row["messages"]]
        return
    chat = Chat(tokenizer)
    ids = chat.encode(prompt.messages) if prompt.messages else chat.encode_prompt(prompt.text)
    assert ids == by_hand(expected, tokenizer)[0]


@pytest.mark.parametrize("form", FORMS)
def test_reinforcement_learning_asks_what_has_a_checked_answer_or_names_the_row(form, tmp_path):
    """Of these forms none has a number behind ####."""
    good = {"question": "q", "answer": "so\n#### 7"}
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2"):
        GradeSchoolMath.Config(path=written(tmp_path, good, FORMS[form][0])).build()


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "an answer without a question"),
        ({"prompt": " \n", "chosen": "a", "rejected": "b"}, "an answer without a question"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "'prompt' must be a text or a list"),
        ({"chosen": answer("a"), "rejected": answer("b")}, "an answer without a question"),
        ({"prompt": turns(system="s"), "chosen": answer("a"), "rejected": answer("b")}, "an answer without a question"),
        ({"chosen": "Blue.", "rejected": "Green."}, "an answer without a question"),
        ({"chosen": "", "rejected": "Green."}, "an answer without a question"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are the same"),
        ({"prompt": turns("q"), "chosen": answer("a"), "rejected": answer("a")}, "are the same"),
        ({"prompt": "q", "chosen": "a", "rejected": answer("a", weight=1)}, "are the same"),
        ({"chosen": "The sky", "rejected": "The sky"}, "are the same"),
        ({"prompt": "q", "chosen": "a"}, "has no 'rejected'"),
        ({"prompt": "q", "chosen": turns("r", "a"), "rejected": turns("r", "b")}, "another question than the prompt"),
        ({"prompt": turns("q", "a"), "chosen": answer("b"), "rejected": answer("c")}, "ends with an answer"),
        ({"prompt": "q", "chosen": answer("a", weight=0), "rejected": "b"}, "weight 0 cannot be compared"),
        ({"prompt": "q", "question": "r", "chosen": "a", "rejected": "b"}, "both 'prompt' and 'question'"),
        ({"prompt": "q", "chosen": ["a"], "rejected": ["b"]}, "a turn needs 'role' and 'content'"),
    ],
)
def test_a_pair_that_cannot_be_compared_is_refused(row, cause):
    with pytest.raises(DataError, match=rf"^rows, line 1.*{cause}"):
        pair_of(row, "rows, line 1")


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "", "completion": "a"}, "an answer without a question"),
        ({"messages": answer("a")}, "an answer without a question"),
        ({"messages": turns("q")}, "without an answer"),
        ({"messages": turns("q") + answer("a", weight=0.5)}, "'weight' of a message must be 0 or 1, not 0.5"),
        ({"messages": [{"role": "user", "content": "q", "weight": 1}, *answer("a")]}, "only the assistant's turns"),
        ({"messages": turns("q") + answer("a", reasoning_content=["x"])}, "'reasoning_content' must be a text"),
        ({"messages": turns("q") + answer("a", reasoning="x", thinking="y")}, "which differ"),
        ({"messages": [{"role": "user", "content": "q", "reasoning": "x"}, *answer("a")]}, "belongs to the assistant"),
        ({"messages": [{"role": "user", "content": None}, *answer("a")]}, "a text 'content'"),
        ({"messages": [{"role": "user", "content": "q", "value": "r"}, *answer("a")]}, "both 'content' and 'value'"),
        ({"messages": turns("q", "a"), "system": 3}, "'system' must be a text"),
        ({"messages": turns("q", "a", system="s"), "system": "t"}, "say different things"),
        ({"messages": "q a"}, "has no list 'messages'"),
        ({"messages": turns("q", "a"), "conversations": gpt("q", "a")}, "both 'messages' and 'conversations'"),
        ({"prompt": "q", "completion": "a", "label": "good"}, "'label' must be true or false"),
        ({"instruction": "q", "input": 3, "output": "a"}, "'input' must be a text"),
        ({"instruction": "q", "history": [["a", "b"]], "output": "a"}, "has 'history'"),
    ],
)
def test_a_conversation_that_cannot_be_learnt_is_refused(row, cause):
    with pytest.raises(DataError, match=rf"^rows, line 1.*{cause}"):
        conversation_of(row, "rows, line 1")


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(
    "row",
    [
        lambda n: {"prompt": turns(f"Say {n}."), "chosen": answer(f"{n}"), "rejected": answer("no")},
        lambda n: {"prompt": f"Say {n}.", "chosen": answer(f"{n}"), "rejected": answer("no")},
        lambda n: {
            "chosen": f"\n\nHuman: Say {n}.\n\nAssistant: {n}",
            "rejected": f"\n\nHuman: Say {n}.\n\nAssistant: no",
        },
    ],
)
def test_pairs_are_held_out_as_pairs(row, share, tmp_path, tokenizer):
    """Also an odd number of them, and every one with its own question and its own partner."""
    rows = [row(n) for n in range(41)]
    found = data(PreferenceData, PairFiles, tmp_path, rows, validation_share=share)
    assert found.n_pairs == 41
    for batch in found.every_pair():
        chosen, rejected = (
            tokenizer.decode(batch.tokens_P2T1[0, side][batch.inside_P2T1[0, side]].tolist()) for side in range(2)
        )
        number = chosen.split("Say ")[1].split(".")[0]
        head = f"<｜begin▁of▁sentence｜><｜User｜>Say {number}.<｜Assistant｜>"
        assert (chosen, rejected) == tuple(f"{head}{said}<｜end▁of▁sentence｜>" for said in (number, "no"))


def test_an_answer_that_was_labelled_bad_is_not_learnt_and_counted(tmp_path):
    rows = [{"prompt": "q", "completion": f"a{n}", "label": n != 2} for n in range(4)]
    found = data(InstructionData, ConversationFiles, tmp_path, rows, packing=False, batch_size=3)
    (batch,) = found.step_batch(0)
    said = {
        found.tokenizer.decode(t[a].tolist(), skip_special=True)
        for t, a in zip(batch.tokens_BT1, batch.answer_BT1, strict=True)
    }
    assert said == {"a0", "a1", "a3"}
    assert found.notes == ["data.seq_len = 128: conversations are left out that have no answer to learn (1)"]


def test_what_is_not_read_is_counted(tmp_path):
    rows = [{"id": n, "score": 0.5, "messages": [{**turns("q")[0], "name": "Bob"}, *answer("a")]} for n in range(3)]
    rows += [{"messages": turns("q") + answer("a", reasoning_content="x") + turns("r", "b")}]
    found = data(InstructionData, ConversationFiles, tmp_path, rows)
    said = (
        "data.corpus: the column 'id' is not read (3); the column 'score' is not read (3); "
        "'name' of a message is not read (3); "
        "thoughts of earlier turns are not written, as in the chat format (1)"
    )
    assert found.notes == [said]
    assert data(InstructionData, ConversationFiles, tmp_path, rows).notes == [said], "also when it was encoded before"


def test_a_changed_weight_is_other_data(tmp_path):
    rows = [{"messages": turns("q") + answer("a", weight=weight) + turns("r", "b")} for weight in (0, 1)]
    hashes = {data(InstructionData, ConversationFiles, tmp_path, [row]).manifest["hash"] for row in rows}
    assert len(hashes) == 2


def test_a_pair_that_lost_its_partner_is_never_trained_on(tmp_path):
    rows = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(4)]
    found = data(PreferenceData, PairFiles, tmp_path, rows)
    split = found._splits["train"]._split
    found._splits["train"]._split = replace(split, offsets=np.array([*split.offsets[1:], split.offsets[-1]]))
    with pytest.raises(DataError, match="lost its partner"):
        list(found.every_pair())
    folder = next((tmp_path / "cache" / "conversations").iterdir())
    offsets = np.load(folder / "train.offsets.npy")
    np.save(folder / "train.offsets.npy", offsets[:-1])
    with pytest.raises(DataError, match="lost its partner"):
        data(PreferenceData, PairFiles, tmp_path, rows)


def test_what_does_not_fit_is_counted_and_no_end_is_learnt_where_it_is_cut(tmp_path, tokenizer):
    long, longer = "a" * 30, "q" * 30
    rows = [
        {"prompt": "q", "completion": long},
        {"prompt": longer, "completion": "a"},
        {"prompt": "q", "completion": "b"},
    ]
    found = data(InstructionData, ConversationFiles, tmp_path, rows, seq_len=20, packing=False, batch_size=2)
    (batch,) = found.step_batch(0)
    learnt = {tokenizer.decode(t[a].tolist()) for t, a in zip(batch.tokens_BT1, batch.answer_BT1, strict=True)}
    assert learnt == {"a" * 17, "b<｜end▁of▁sentence｜>"}
    (line,) = found.notes
    assert line == (
        "data.seq_len = 20: longer conversations are cut, and their ends not learnt (1); "
        "conversations are left out, of which no answer is left (1)"
    )
    pairs = [{"prompt": "q", "chosen": "a" * 30, "rejected": "b"}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
    found = data(PreferenceData, PairFiles, tmp_path, pairs, seq_len=20)
    assert (found.n_pairs, found.notes) == (1, ["data.seq_len = 20: longer pairs are left out (1)"])
    assert torch.equal(next(found.every_pair()).number_P, torch.tensor([0]))
