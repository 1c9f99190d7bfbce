r"""Reads the answer out of a completion as a reader would: exactly one `<answer>…</answer>`, short, never evaluated.

Tags inside the thought are no answer: nothing before `</think>` is looked at. The real minus (U+2212) is a minus, and
a dot behind an answer is no part of it. `quantity` and `answer_or_box` are for tasks whose answers people write in
their own ways: `$72`, `72 clips`, `1/2`, `1,200`, `\boxed{72}`.

A completion is whatever a network under training writes, so everything here is linear in its length and
nothing is guessed: two answers are none, half a number is none, nor is a number that a word makes another one of.
"""

import re
from fractions import Fraction

OPEN, CLOSE = "<answer>", "</answer>"
END_OF_THOUGHT = "</think>"
LONGEST = 100
"""Characters of an answer; what is longer is no answer to these tasks."""
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = re.compile(rf"[+-]?{_DIGITS}(?:\.[0-9]+)?")
_AMOUNT = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<currency>[$€£¥₹]) ?)?(?P<late>[+-]?)(?:(?:(?P<whole>{_DIGITS}) +)?"
    rf"(?P<top>{_DIGITS})/(?P<bottom>{_DIGITS})|(?P<plain>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+))"
)
_BOX = r"\boxed{"
_LATEX = (
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mbox)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\[,; ]|~"), " "),
)
_MOST_WORDS = 6
_OTHER_NUMBER = """
    hundred thousand million billion trillion dozen score gross lakh crore k b bn mn mil mio mrd mille tausend dutzend
    half halve third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth millionth
    x e pi i squared cubed factorial plus minus times divided multiplied over and or not to point negative
    zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty
    ninety
"""
"""Words behind a number that make another number of it; a unit changes nothing."""
_MILLION_OR_METRE = ("m", "t")
"""Units where they stand apart from a number without a currency."""


class NoAnswer(ValueError):
    """Why a completion holds no answer, in one line."""


def after_thought(completion: str) -> str:
    """What a reader takes for the answer's text: all behind the first `</think>`, where there is one."""
    _, closed, rest = completion.partition(END_OF_THOUGHT)
    return rest if closed else completion


def answer_in(completion: str, longest: int = LONGEST) -> str:
    """The text between the tags, without white space around it. Raises NoAnswer."""
    said = after_thought(completion)
    opened, closed = said.count(OPEN), said.count(CLOSE)
    if opened == 0 and closed == 0:
        raise NoAnswer("no <answer>")
    if opened != 1 or closed != 1:
        raise NoAnswer(f"{opened} <answer> and {closed} </answer>")
    start, end = said.index(OPEN) + len(OPEN), said.index(CLOSE)
    if end < start:
        raise NoAnswer("</answer> before <answer>")
    if end - start > longest:
        raise NoAnswer(f"an answer of more than {longest} characters")
    return said[start:end].strip()


def answer_or_box(completion: str) -> str:
    r"""The text between the tags, or, where there are no tags, that of `\boxed{…}` behind the thought.

    Raises NoAnswer, also for boxes that differ.
    """
    said = after_thought(completion)
    unclosed = said is completion and said.lstrip().startswith("<think>")
    if OPEN in said or CLOSE in said or _BOX not in said or unclosed:
        return answer_in(completion)
    boxes = {box.strip() for box in _boxes(said)}
    if len(boxes) != 1:
        raise NoAnswer(f"{len(boxes)} different answers in boxes" if boxes else "a box that is never closed")
    (box,) = boxes
    if len(box) > LONGEST:
        raise NoAnswer(f"an answer of more than {LONGEST} characters")
    return box


def _boxes(text: str) -> list[str]:
    r"""What stands in each `\boxed{…}`, from left to right; nothing behind one that is never closed."""
    found, place = [], text.find(_BOX)
    while place >= 0:
        start = end = place + len(_BOX)
        depth = 1
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            return []
        found.append(text[start : end - 1])
        place = text.find(_BOX, end)
    return found


def plain(text: str) -> str:
    """An answer with a minus that computers read, and without the dot that ends a sentence."""
    return text.replace("\N{MINUS SIGN}", "-").removesuffix(".")


def whole_number(text: str) -> int:
    """A number in plain ASCII digits with or without a sign. Raises NoAnswer for anything else."""
    if len(text) > LONGEST or not _WHOLE_NUMBER.fullmatch(plain(text)):
        raise NoAnswer("the answer is no whole number")
    return int(plain(text))


def decimal(text: str) -> Fraction:
    """A number such as `-1,234.50`, exactly. Raises NoAnswer for anything else: no unit, no sign of money."""
    if len(text) > LONGEST or not _DECIMAL.fullmatch(plain(text)):
        raise NoAnswer("the answer is no number")
    return Fraction(plain(text).replace(",", ""))


def quantity(text: str) -> Fraction:
    r"""A number as people write it, exactly: `$1,200.50`, `72 clips`, `60%`, `1 1/2`, `\boxed{\frac{3}{4}}`.

    Units and signs of money are passed over. Raises NoAnswer for anything else.
    """
    if len(text) > LONGEST:
        raise NoAnswer("the answer is no number")
    text = _without_latex(plain(text))
    match = _AMOUNT.match(text)
    if match is None or (match["sign"] and match["late"]) or not _is_unit(text[match.end() :], match["currency"]):
        raise NoAnswer("the answer is no number")
    return _value(match) * (-1 if "-" in (match["sign"], match["late"]) else 1)


def _value(match: "re.Match[str]") -> Fraction:
    whole, top, bottom, plainly = (
        Fraction((match[name] or "0").replace(",", "")) for name in ("whole", "top", "bottom", "plain")
    )
    if match["plain"]:
        return plainly
    if not bottom:
        raise NoAnswer("the answer divides by zero")
    return whole + top / bottom


def _without_latex(text: str) -> str:
    """What a number in a box or between dollars shows."""
    for opening, closing in (("$", "$"), (r"\(", r"\)")):
        inner = text[len(opening) : len(text) - len(closing)]
        if text == f"{opening}{inner}{closing}" and inner and closing not in inner:
            text = inner.strip()
    boxes = _boxes(text) if text.startswith(_BOX) and text.endswith("}") else []
    text = plain(boxes[0].strip()) if len(boxes) == 1 and len(boxes[0]) + len(_BOX) + 1 == len(text) else text
    for pattern, shown in _LATEX:
        text = pattern.sub(shown, text)
    return text.strip()


def _is_unit(rest: str, currency: str) -> bool:
    """Whether what stands behind a number leaves it that number."""
    if rest.lower().removesuffix(".") in _MILLION_OR_METRE or (currency and rest.strip().lower() in _MILLION_OR_METRE):
        return False
    rest = rest.strip()
    if rest[:1] in {"%", "°"} or (not currency and rest[:1] in {"$", "€", "£", "¥", "₹"}):
        rest = rest[1:].strip()
    words = [rest] if rest.startswith("/") else rest.replace("/", " ").split()
    return len(words) <= _MOST_WORDS and all(map(_is_word_of_unit, words))


def _is_word_of_unit(word: str) -> bool:
    """Latin letters, also abbreviated or to a power, that are no number themselves."""
    word = word.removesuffix(".").lower()
    for power in ("²", "³", "^2", "^3"):
        word = word.removesuffix(power)
    return word.isascii() and word.isalpha() and not {word, word.removesuffix("s")} & set(_OTHER_NUMBER.split())
