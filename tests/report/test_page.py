"""One file that asks for nothing: read as text, and opened in a browser where there is one."""

import re
import subprocess
from html.parser import HTMLParser

from deepseek_lab.report.document import Bullets, Cells, Heading, Paragraph, Picture, Pictures, Verbatim
from deepseek_lab.report.markdown import markdown
from deepseek_lab.report.page import page

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
BLOCKS = [
    Heading("A <title> & more", 1),
    Paragraph("Text with `code <b>`."),
    Bullets(("one", "two < three")),
    Cells(("name", "value"), (("a|b", "1"), ("<i>", "2"))),
    Pictures((Picture("loss", 'A "caption".', SVG, b""),)),
    Verbatim("The log of `x`", "Traceback <module>\n  </pre><script>alert(1)</script>"),
]


class Tags(HTMLParser):
    """Collects tags, the addresses in them and how deep the page is nested at its end."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_a_page_asks_for_nothing_and_runs_nothing():
    text = page("title", BLOCKS)
    tags = read(text)
    assert all(address.startswith("data:") for address in tags.addresses)
    assert "script" not in tags.tags
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert 'name="viewport" content="width=device-width' in text


def test_text_is_escaped_and_code_is_marked():
    text = page("a <b>", BLOCKS)
    assert "<title>a &lt;b&gt;</title>" in text
    assert "<code>code &lt;b&gt;</code>" in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text
    assert 'alt="A &quot;caption&quot;."' in text
    assert '<div class="scroll" tabindex="0">\n<table>' in text


def test_markdown_says_the_same():
    text = markdown(BLOCKS)
    assert text.startswith("# A <title> & more\n\nText with `code <b>`.\n\n- one\n- two < three\n")
    assert "| name | value |\n| :-- | --: |\n| a\\|b | 1 |" in text
    assert '![A "caption".](plots/loss.png)' in text
    assert "    Traceback <module>\n" in text


def console_of(chromium, path, folder):
    """What a headless Chromium writes to its console when it opens a page."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}"]
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", f"file://{path}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "</html>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_has_nothing_to_complain_of(chromium, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page("title", BLOCKS))
    assert console_of(chromium, path, tmp_path / "profile") == []
    path.write_text(page("title", BLOCKS).replace("</body>", '<img src="http://localhost:9/x.png"></body>'))
    assert console_of(chromium, path, tmp_path / "profile"), "a request would have been seen"
