"""A document as one HTML file that needs no other: figures stand in it as data, and nothing may be fetched.

The policy in its head forbids every request and every script, so the file is safe to send and to open. Wide tables
scroll in a box of their own; figures stand side by side where there is room.
"""

import base64
import html
import re
from collections.abc import Sequence

from deepseek_lab.report.document import Block, Bullets, Cells, Heading, Paragraph, Picture, Pictures, Verbatim

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 64px; color: #1c1c1c; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 24px 0 4px; }
p, li { max-width: 75ch; overflow-wrap: anywhere; }
ul { padding-left: 1.2em; }
li { margin: 6px 0; }
code { font: 0.875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: #f2f2f2;
  padding: 1px 4px; border-radius: 3px; }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { border-bottom: 2px solid #999; vertical-align: bottom; }
th.word, td.word { text-align: left; }
td.word { white-space: normal; min-width: 6em; }
td.word:last-child { min-width: 20em; max-width: 56ch; overflow-wrap: anywhere; }
td.word code { background: none; padding: 0; white-space: nowrap; }
tbody tr:hover { background: #f7f7f7; }
.figures { display: grid; gap: 24px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
figure { margin: 8px 0; }
figure img { width: 100%; max-width: 640px; height: auto; display: block; }
figcaption { font-size: 0.875rem; color: #555; margin-top: 4px; max-width: 640px; }
details { margin: 8px 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 10px 12px; background: #f2f2f2; border-radius: 4px; line-height: 1.4;
  font: 0.8125rem/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 600px) {
  body { padding: 16px 12px 48px; }
  th, td { padding: 6px 8px; }
  th { white-space: normal; }
}
"""


def page(title: str, blocks: Sequence[Block]) -> str:
    """The whole file."""
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>{STYLE}</style>'
    )
    body = "\n".join(map(_block, blocks))
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _text(text: str) -> str:
    """Escaped, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{_text(item)}</li>" for item in items) + "\n</ul>"
        case Cells():
            return _table(block)
        case Verbatim(title, text):
            return f"<details>\n<summary>{_text(title)}</summary>\n<pre>{html.escape(text)}</pre>\n</details>"
        case Pictures(pictures):
            return '<div class="figures">\n' + "\n".join(map(_figure, pictures)) + "\n</div>"


def _table(cells: Cells) -> str:
    """A table in a box that scrolls sideways; it takes the focus, so that the keyboard can scroll it too."""
    head = "".join(f"<th{_word(i, cells)}>{_text(text)}</th>" for i, text in enumerate(cells.heads))
    rows = ("".join(f"<td{_word(i, cells)}>{_text(text)}</td>" for i, text in enumerate(row)) for row in cells.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0">\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table>\n</div>"
    )


def _word(column: int, cells: Cells) -> str:
    return ' class="word"' if column < cells.n_words else ""


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode()
    caption = html.escape(picture.caption)
    image = f'<img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>\n{image}\n<figcaption>{_text(picture.caption)}</figcaption>\n</figure>"
