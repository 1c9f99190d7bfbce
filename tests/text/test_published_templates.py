"""Conversations under published chat templates, and odd ones, are the tokens that transformers makes of them.

The templates of the series stand here in our own words, with what they do: who is named how, which thoughts are left
out, what a turn ends with. What people write never becomes a control token here, which transformers allows; the
histories are compared where nobody writes one.
"""

import json
from itertools import product

import jinja2
import pytest
import transformers
from tokenizers import AddedToken

from deepseek_lab.text.chat import Chat, Message
from deepseek_lab.text.template_sandbox import TemplateError, TemplateSandbox
from deepseek_lab.text.tokenizer import Tokenizer, over_bytes

SANDBOX = TemplateSandbox()
DEEPSEEK_NAMES = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>")
CONTROL = (
    *DEEPSEEK_NAMES,
    *("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<|EOT|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    *("<s>", "</s>", "<unk>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)

PLAIN_NAMES = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    "{% for turn in messages %}{% if turn['role'] == 'user' %}{{ 'User: ' + turn['content'] + '\n\n' }}"
    "{% elif turn['role'] == 'assistant' %}{{ 'Assistant: ' + turn['content'] + eos_token }}"
    "{% elif turn['role'] == 'system' %}{{ turn['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CODER = (
    "{% set found = namespace(system=false) %}{% for turn in messages %}{% if turn['role'] == 'system' %}"
    "{% set found.system = true %}{% endif %}{% endfor %}{{ bos_token }}"
    "{% if not found.system %}{{ 'You are a programming assistant.\n' }}{% endif %}"
    "{% for turn in messages %}{% if turn['role'] == 'system' %}{{ turn['content'] }}{% else %}"
    "{% if turn['role'] == 'user' %}{{ '### Instruction:\n' + turn['content'] + '\n' }}"
    "{% else %}{{ '### Response:\n' + turn['content'] + '\n<|EOT|>\n' }}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:' }}{% endif %}"
)
CODER_V2 = PLAIN_NAMES.replace("'\n\n' }}{% elif", "'\n\n' }}{%- elif").replace("'Assistant:' }}", "'Assistant:' -}}")
V3 = (
    "{% set ns = namespace(is_first=false, system_prompt='') %}"
    "{%- for turn in messages %}{%- if turn['role'] == 'system' %}"
    "{% set ns.system_prompt = ns.system_prompt + turn['content'] %}{%- endif %}{%- endfor %}"
    "{{ bos_token }}{{ ns.system_prompt }}"
    "{%- for turn in messages %}{%- if turn['role'] == 'user' %}{{ '<｜User｜>' + turn['content'] }}{%- endif %}"
    "{%- if turn['role'] == 'assistant' and turn['content'] is not none %}"
    "{{ '<｜Assistant｜>' + turn['content'] + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)
WITHOUT_THOUGHT = (
    "{% set content = turn['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}"
)
R1 = V3.replace("{{ '<｜Assistant｜>' + turn['content'] + '<｜end▁of▁sentence｜>' }}", WITHOUT_THOUGHT).replace(
    "{{ '<｜Assistant｜>' }}{% endif %}", "{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)
V3_1 = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}" + V3.replace(
    "{{ '<｜Assistant｜>' + turn['content'] + '<｜end▁of▁sentence｜>' }}",
    "{{ '<｜Assistant｜>' }}{% if loop.last and thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}"
    "{% set content = turn['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>', 1)[1] %}{% endif %}{{ content + '<｜end▁of▁sentence｜>' }}",
).replace(
    "{{ '<｜Assistant｜>' }}{% endif %}",
    "{{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}{% endif %}",
)
CHATML = (
    "{% for turn in messages %}{% if loop.first and turn.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + turn.role + '\n' + turn.content | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THOUGHTS_OF_THE_LAST = (
    "{%- set ns = namespace(last=messages|length - 1) %}"
    "{%- for turn in messages[::-1] %}{%- set at = (messages|length - 1) - loop.index0 %}"
    "{%- if turn.role == 'user' %}{%- set ns.last = at %}{%- break %}{%- endif %}{%- endfor %}"
    "{%- for turn in messages %}{%- if turn.role != 'assistant' %}"
    "{{- '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>\n' }}{%- else %}"
    "{%- set content, thought = turn.content, '' %}"
    "{%- if turn.reasoning_content is defined and turn.reasoning_content is not none %}"
    "{%- set thought = turn.reasoning_content %}"
    "{%- elif '</think>' in content %}{%- set content = turn.content.split('</think>')[-1].lstrip('\n') %}"
    "{%- set thought = turn.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last %}{{- '<|im_start|>assistant\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' "
    "+ content.lstrip('\n') }}{%- else %}{{- '<|im_start|>assistant\n' + content }}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
LLAMA = (
    "{{- bos_token }}{%- for turn in messages %}{{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\n\n' "
    "+ turn['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)

SERIES = {
    "llm": PLAIN_NAMES,
    "coder": CODER,
    "vl": PLAIN_NAMES.replace("bos_token", "''"),
    "math": PLAIN_NAMES,
    "v2": PLAIN_NAMES,
    "coder_v2": CODER_V2,
    "v3": V3,
    "v3_1": V3_1,
    "r1": R1,
    "r1_distilled": R1.replace("<｜end▁of▁sentence｜>", "' + eos_token + '"),
}
EACH = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
ODD = {
    "chatml": CHATML,
    "thoughts_of_the_last": THOUGHTS_OF_THE_LAST,
    "llama": LLAMA,
    "generation_tag": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{{ eos_token }}{% endgeneration %}{% else %}[{{ m.content }}]{% endif %}{% endfor %}",
    "generation_scope": "{% set x = 1 %}{% for m in messages %}{% generation %}{% set x = x + 1 %}{{ x }}"
    "{{ m.content }}{% endgeneration %}{{ x }}{% endfor %}",
    "date": "{{ strftime_now('%d %B %Y') }} " + EACH,
    "no_tools": "{% if tools is none %}no{% endif %}{% if documents is none %} none{% endif %}" + EACH,
    "tools_defined": "{{ tools is defined }} {{ documents is defined }} {{ nothing is defined }}" + EACH,
    "special_tokens": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}" + EACH,
    "no_thought": "{% for m in messages %}{{ m.reasoning_content is defined }}{{ m.reasoning_content }}{% endfor %}",
    "fields": "{% for m in messages %}{{ m | length }} {{ m.keys() | list | sort | join(',') }}\n{% endfor %}",
    "thinking": "{{ thinking is defined }}{{ enable_thinking is defined }}" + EACH,
    "json": "{{ messages | tojson }}{{ messages | map(attribute='content') | list | tojson(indent=2) }}",
    "json_options": "{{ messages | tojson(separators=(',', ':'), sort_keys=true) }}",
    "json_in_ascii": "{{ messages | tojson(ensure_ascii=true) }}{{ '<é>' | tojson(ensure_ascii=true) }}",
    "alternating": "{% if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}",
    "loops": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{{ loop.index }}{{ m.content }}{% endfor %}",
    "macro": "{% macro said(m) %}[{{ m.role | upper }}] {{ m.content | trim }}{% endmacro %}"
    "{% for m in messages %}{{ said(m) }}\n{% endfor %}",
    "blocks": "\n    {% for m in messages %}\n    {{ m.content }}\n    {% endfor %}\n  end",
    "namespace_of_a_dict": "{% set ns = namespace(dict(n=0)) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.n }}" + EACH,
    "last_message": "{{ messages[-1]['content'] }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "undefined_field": "{% for m in messages %}{{ m.tool_calls }}{{ m['name'] }}{{ m.content }}{% endfor %}",
    "slices": "{{ messages[0].content[:2] }}{{ messages[-1].content | length }}{{ messages[::-1][0].role }}",
}

SYSTEM = {"role": "system", "content": "Be brief.\n"}


def user(text):
    return {"role": "user", "content": text}


def said(text, **more):
    return {"role": "assistant", "content": text, **more}


ANSWERS = (
    said("4"),
    said(""),
    said("<think>\ntwo and two\n</think>\n\n4"),
    said("4", reasoning_content="two and two"),
    said("a </think> in the middle"),
)
QUESTIONS = ("2 + 2?", "", "  spaces around \n", "x < y > z & <b>é漢🙂</b>")
HISTORIES = [
    *([user(text)] for text in QUESTIONS),
    *([SYSTEM, user(text)] for text in QUESTIONS),
    *([user("2 + 2?"), answer, user("and 3?")] for answer in ANSWERS),
    *([SYSTEM, user("a"), one, user("b"), two, user("c")] for one, two in product(ANSWERS[1:4], ANSWERS[1:4])),
    *(
        [user("a"), one, user("b"), two, user("c"), one, user("d")]
        for one, two in zip(ANSWERS, ANSWERS[::-1], strict=True)
    ),
    [user("a"), user("b")],
    [said("first"), user("b")],
    [{"role": "system", "content": ""}, user("a")],
]


@pytest.fixture(scope="module", params=["deepseek", "without_beginning"])
def both(request, tmp_path_factory):
    """Our tokenizer and theirs of one folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    from tokenizers import models, pre_tokenizers

    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = over_bytes(models.BPE(vocab=alphabet, merges=[]), pre_tokenizers.ByteLevel(add_prefix_space=False))
    inner.add_tokens(
        [AddedToken(name, normalized=False, special=name not in ("<think>", "</think>")) for name in CONTROL]
    )
    inner.save(str(folder / "tokenizer.json"))
    begin, end, pad = DEEPSEEK_NAMES
    names = {"bos_token": begin, "eos_token": end, "pad_token": pad}
    if request.param == "without_beginning":
        names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.load(folder / "tokenizer.json"), transformers.AutoTokenizer.from_pretrained(folder)


def as_message(turn):
    return Message(role=turn["role"], content=turn["content"], reasoning=turn.get("reasoning_content", ""))


@pytest.mark.parametrize("name", [*SERIES, *ODD])
def test_ids_are_those_of_transformers(both, name):
    ours, theirs = both
    template = {**SERIES, **ODD}[name]
    chat = Chat(ours, template, SANDBOX)
    for history in HISTORIES:
        try:
            wanted = theirs.apply_chat_template(
                history, chat_template=template, add_generation_prompt=True, return_dict=False
            )
        except jinja2.TemplateError as error:
            with pytest.raises(TemplateError, match=str(error)[:20]):
                chat.encode([as_message(turn) for turn in history])
            continue
        found = chat.encode([as_message(turn) for turn in history])
        assert ours.decode(found) == theirs.decode(wanted), history
        assert found == wanted


@pytest.mark.parametrize("name", [*SERIES, "chatml", "llama", "thoughts_of_the_last"])
@pytest.mark.parametrize("thinking", [None, True, False])
def test_the_thought_is_open_where_the_prompt_says_so(both, name, thinking):
    ours, theirs = both
    template = {**SERIES, **ODD}[name]
    asked = {} if thinking is None else {"thinking": thinking, "enable_thinking": thinking}
    wanted = theirs.apply_chat_template(
        [user("2 + 2?")], chat_template=template, add_generation_prompt=True, tokenize=False, **asked
    )
    prompt = Chat(ours, template, SANDBOX).prompt([Message(role="user", content="2 + 2?")], thinking)
    assert ours.decode(prompt.ids) == wanted
    assert prompt.opens_thought == wanted.rstrip().endswith("<think>")
    assert prompt.opens_thought == (name.startswith("r1") or (name == "v3_1" and thinking is True))


@pytest.mark.parametrize("name", SERIES)
def test_what_people_write_is_no_control_token(both, name):
    ours, _ = both
    chat = Chat(ours, SERIES[name], SANDBOX)
    plain = chat.encode([Message(role="user", content="")])
    spelled = chat.encode([Message(role="user", content="".join(CONTROL))])
    control = set(ours.special_ids.values())
    assert [token for token in spelled if token in control] == [token for token in plain if token in control]
