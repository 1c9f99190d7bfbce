"""A document as markdown; its pictures are files in `plots/` beside it."""

from collections.abc import Sequence

from deepseek_lab.report.document import Block, Bullets, Cells, Heading, Paragraph, Pictures, Verbatim

PLOTS = "plots"


def markdown(blocks: Sequence[Block]) -> str:
    """The whole text."""
    return "\n\n".join(map(_block, blocks)) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Cells():
            return table(block)
        case Verbatim(title, text):
            return f"{title}\n\n" + "\n".join(f"    {line}" for line in text.splitlines())
        case Pictures(pictures):
            return "\n\n".join(f"![{p.caption}]({PLOTS}/{p.name}.png)" for p in pictures)


def table(cells: Cells) -> str:
    """A table; a bar inside a cell is escaped."""
    rules = [*[":--"] * cells.n_words, *["--:"] * (len(cells.heads) - cells.n_words)]
    rows = [[cell.replace("|", r"\|") for cell in row] for row in (cells.heads, *cells.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:]))
