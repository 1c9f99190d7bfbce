"""The process that renders chat templates: one json line in, one out, until its input ends.

It is started apart, with nothing of the environment but the time zone, because no sandbox within a process can stop
`{{ 'a' * 10**9 }}` or an endless loop. Jinja's immutable sandbox keeps a template from Python's objects;
the limits set here keep it from the machine's memory and from writing files; the parent's clock keeps it from time.

Run by path: it imports nothing of this project.
"""

import contextlib
import json
import re
import resource
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

OWN_SECONDS = 300
"""Processor time after which a worker ends, should its parent have died before it could; the next takes over."""


def limit(kind: int, amount: int) -> None:
    """Sets a limit where the system has it (macOS lacks that on memory)."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (amount, amount))


def refuse(message: str) -> NoReturn:
    """What templates call `raise_exception`."""
    raise TemplateError(str(message))


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; Jinja's own filter would escape it for HTML.

    Characters of the first private-use plane stand for others that are put back in the text, and are left alone.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    return re.sub("[^\x00-\x7f\U000f0000-\U000ffffd]", _escaped, text) if ensure_ascii else text


def _escaped(character: re.Match[str]) -> str:
    return json.dumps(character[0])[1:-1]


class Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: what the assistant says, marked for training; here only its text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Node:
        """The block in a scope of its own."""
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class PlainNamespace(Namespace):
    """Jinja's namespace without attributes that begin with an underscore."""

    def __init__(*args: Any, **values: Any) -> None:  # `namespace(self=…)` is a template's right
        for name in dict(*args[1:], **values):
            _require_plain(name)
        Namespace.__init__(*args, **values)

    def __setitem__(self, name: str, value: Any) -> None:
        _require_plain(name)
        super().__setitem__(name, value)


def _require_plain(name: str) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace holds nothing that begins with an underscore, such as {name!r}")


def environment() -> ImmutableSandboxedEnvironment:
    """The dialect that published templates are written in: tags, globals and filters as transformers has them."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    made.globals["namespace"] = PlainNamespace
    return made


def rendered(template: str, variables: dict[str, Any], max_chars: int) -> str:
    """The text; raises ValueError beyond `max_chars`."""
    pieces, size = [], 0
    for piece in environment().from_string(template).generate(**variables):
        size += len(piece)
        if size > max_chars:
            raise ValueError(f"writes more than {max_chars:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def answer(line: str) -> dict[str, str]:
    """The reply to one request; nothing a template does may end the process with a traceback."""
    try:
        return {"text": rendered(**json.loads(line))}
    except MemoryError:
        return {"error": "needs too much memory"}
    except RecursionError:
        return {"error": "recurses without end"}
    except TemplateError as error:
        return {"error": str(error)[:300]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main(memory: int) -> None:
    """Serves requests under the limits; `memory` in bytes of address space."""
    limit(resource.RLIMIT_AS, memory)
    limit(resource.RLIMIT_CPU, OWN_SECONDS)
    limit(resource.RLIMIT_FSIZE, 0)
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
