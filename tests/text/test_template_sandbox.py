"""Hostile templates: refused in bounded time with one line, and the next rendering works."""

import os
import time
from datetime import datetime, timedelta, timezone

import pytest

from deepseek_lab.text.template_sandbox import TemplateError, TemplateLimits, TemplateSandbox

LIMITS = TemplateLimits(seconds=0.5, characters=10_000, memory=256 * 1024**2)


@pytest.fixture(scope="module")
def sandbox():
    made = TemplateSandbox(LIMITS)
    yield made
    made.close()


HOSTILE = {
    "endless": ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "longer than 0.5 s"),
    "memory": ("{{ 'a' * 10**9 }}", "memory|longer|ended"),
    "memory behind a name": ("{% set n = 10**9 %}{% set s = 'a' * n %}{{ s }}", "memory|longer|ended"),
    "a padded number": ("{{ '%100000000d' % 3 }}", "more than 10,000 characters|longer|memory"),
    "a big power": ("{{ 9 ** (9 ** 9) }}", "longer than 0.5 s|memory"),
    "output": ("{% for i in range(5000) %}spam {% endfor %}", "more than 10,000 characters"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses"),
    "classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "classes by filter": ("{{ (''|attr('__class__')).__mro__ }}", "unsafe"),
    "globals": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
    "frames": ("{{ self._TemplateReference__context.__init__.__globals__ }}", "unsafe|undefined"),
    "change": ("{{ messages.append(1) }}", "unsafe"),
    "a file": ("{% include '/etc/passwd' %}", "loader"),
    "syntax": ("{% for %}", "Expected|expected"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_template_ends_in_one_line(kind, sandbox):
    template, why = HOSTILE[kind]
    start = time.monotonic()
    with pytest.raises(TemplateError, match=why) as error:
        sandbox.render(template, {"messages": [{"content": "x"}]})
    assert time.monotonic() - start < 10 * LIMITS.seconds, "bounded, with room for a busy machine"
    assert "\n" not in str(error.value)
    assert sandbox.render("{{ messages[0].content }}", {"messages": [{"content": "next"}]}) == "next"


def test_a_format_string_reaches_no_class(sandbox):
    assert sandbox.render("{{ '{0.__class__.__init__}'.format(messages) }}", {"messages": []}) == ""


def test_the_process_sees_no_environment_and_is_gone_after_close(monkeypatch):
    monkeypatch.setenv("DEEPSEEK_LAB_API_KEY", "a secret of the parent")
    sandbox = TemplateSandbox(LIMITS)
    assert sandbox.render("{{ 1 }}", {}) == "1"
    pid = sandbox._process.pid
    with open(f"/proc/{pid}/environ", "rb") as file:
        assert b"secret" not in file.read()
    sandbox.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_published_templates_use_is_there(sandbox):
    template = (
        "{%- for m in messages -%}\n  {%- if m.role == 'x' -%}{%- continue -%}{%- endif -%}\n{{ m.content | trim }}"
        "{%- endfor %}\n{{ {'é': '<'} | tojson }}"
    )
    messages = [{"role": "x", "content": "no"}, {"role": "user", "content": " yes\n"}]
    assert sandbox.render(template, {"messages": messages}) == 'yes{"é": "<"}'
    assert sandbox.render("{{ '\\u0000' }}🐳\n\nline", {}) == "\0🐳\n\nline"


@pytest.mark.parametrize("zone", ["UTC+11", "UTC-13"])
def test_the_date_is_that_of_the_time_zone_here(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    offset = {"UTC+11": "-1100", "UTC-13": "+1300"}[zone]
    date = f"{datetime.now(timezone(timedelta(hours=int(offset) // 100))):%d %b %Y}"
    assert TemplateSandbox().render("{{ strftime_now('%d %b %Y') }}", {}) == date
