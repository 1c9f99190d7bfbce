"""The page in a real browser: it talks to the server, and nothing the model says becomes markup."""

import json
import os
from pathlib import Path

import pytest

from deepseek_lab.serving.page import page

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> **bold** </div>"


def test_the_policy_allows_its_own_script_and_style_and_nothing_else():
    text, policy = page()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert text.count("<script") == text.count("<style") == 1
    assert "innerHTML" not in text.replace("no innerHTML", "")
    assert "http:" not in text.replace("http://www.w3.org", "")


@pytest.fixture(scope="module")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(params=[(1280, 800), (375, 700)], ids=["desktop", "phone"])
def opened(browser, server, request):
    width, height = request.param
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.complaints = []
    tab.on("console", lambda message: tab.complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.goto(server.url)
    tab.get_by_role("heading", name=server.name).wait_for()
    yield tab
    tab.close()


def say(tab, text):
    tab.fill("#text", text)
    tab.press("#text", "Enter")
    tab.wait_for_selector("#send", state="visible")


def picture(tab, name):
    """Kept where DEEPSEEK_LAB_SCREENSHOTS says, for a person to look at."""
    folder = os.environ.get("DEEPSEEK_LAB_SCREENSHOTS")
    if folder:
        tab.screenshot(path=Path(folder) / f"{name}_{tab.viewport_size['width']}.png")


def streamed(*deltas):
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def test_a_conversation_with_the_server(opened):
    picture(opened, "empty")
    opened.click("#settings summary")
    opened.fill("#max_tokens", "20")
    opened.check("#thinking")
    picture(opened, "settings")
    opened.click("#settings summary")
    say(opened, "hi")
    say(opened, "and again")
    assert opened.locator(".turn.user").all_inner_texts() == ["hi", "and again"]
    assert opened.locator(".turn.assistant").count() == 2
    assert opened.locator(".note.wrong").count() == 0
    assert opened.locator(".turn.assistant details").first.is_visible()
    wide = opened.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide, "nothing runs out of the window"
    assert opened.complaints == []
    opened.click("#new")
    assert opened.locator(".turn").count() == 0


def test_what_the_model_says_is_text(opened):
    body = streamed({"reasoning_content": HOSTILE}, {"content": "So: "}, {"content": HOSTILE}, {"content": "x" * 400})
    opened.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    say(opened, HOSTILE)
    picture(opened, "hostile")
    assert opened.locator("#conversation img, #conversation script").count() == 0
    assert HOSTILE in opened.locator(".turn.user").inner_text()
    assert HOSTILE in opened.locator(".turn.assistant > div").inner_text()
    assert HOSTILE in opened.locator(".turn.assistant details").inner_text()
    assert opened.title() != "owned"
    wide = opened.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide
    assert opened.complaints == []


def test_the_policy_stops_a_script_that_gets_in(opened):
    opened.evaluate("""() => {
        const added = document.createElement('script');
        added.textContent = "document.title = 'owned'";
        document.body.append(added);
    }""")
    assert opened.title() != "owned"
    assert any("Content Security Policy" in line for line in opened.complaints)


def test_an_error_is_said_and_the_question_can_be_asked_again(opened):
    opened.evaluate("document.getElementById('max_tokens').value = '100000'")
    say(opened, "hi")
    assert "max_tokens must be at most" in opened.locator(".note.wrong").inner_text()
    opened.evaluate("document.getElementById('max_tokens').value = '5'")
    say(opened, "hi")
    assert opened.locator(".note.wrong").count() == 1
