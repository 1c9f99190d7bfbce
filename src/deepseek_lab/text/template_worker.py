"""The process that renders chat templates: one json line in, one out, until its input ends.

It is started apart, with an empty environment, because no sandbox within a process can stop
`{{ 'a' * 10**9 }}` or an endless loop. Jinja's immutable sandbox keeps a template from Python's objects;
the limits set here keep it from the machine's memory and from writing files; the parent's clock keeps it from time.

Run by path: it imports nothing of this project.
"""

import contextlib
import json
import resource
import sys
from typing import Any, NoReturn

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

OWN_SECONDS = 300
"""Processor time after which a worker ends, should its parent have died before it could; the next takes over."""


def limit(kind: int, amount: int) -> None:
    """Sets a limit where the system has it (macOS lacks that on memory)."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (amount, amount))


def refuse(message: str) -> NoReturn:
    """What templates call `raise_exception`."""
    raise TemplateError(str(message))


def environment() -> ImmutableSandboxedEnvironment:
    """The dialect that published templates are written in."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    made.globals["raise_exception"] = refuse
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
