"""A headless Chromium for the page, and what the page must never do: fail, run data, want what the policy forbids."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000  # for what is to be seen: other tests run beside
DESKTOP, PHONE = (1280, 800), (360, 740)
# Before anything of the page: what the policy forbids is noted, and what a payload of a test does if it is run.
NOTE = """
window.ran = 0;
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
REFUSED = "Failed to load resource: "


def expect(locator):
    """Return Playwright's assertions, which wait until they hold."""
    return pytest.importorskip("playwright.sync_api").expect(locator)


def see(tab, key, text=None):
    """Wait until a key is open, with a text in its value."""
    expect(tab.locator("#entry-key")).to_have_text(key)
    if text is not None:
        expect(tab.locator("#value")).to_contain_text(text)


def keys(tab):
    """Return the keys that are listed."""
    return tab.locator("#keys .key").all_text_contents()


def until(tab, holds):
    """Wait until a condition holds that the browser reports, such as a request."""
    for _ in range(PATIENCE_MS // 50):
        if holds():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("it did not come to hold")


def choose(tab, name, value):
    """Choose a radio button of the page."""
    tab.check(f"[name={name}][value={value}]")


def save(tab, value):
    """Save another value of the key that is open."""
    tab.click("#edit")
    tab.fill("#editor-value", value)
    tab.click("#editor [type=submit]")


def clear(tab):
    """Clear the key that is open."""
    tab.click("#clear")
    tab.click("#confirm-yes")


class Site:
    """The page of one gateway, in as many tabs as a test wants, each in a session of its own."""

    def __init__(self, browser, address: str) -> None:
        self.browser, self.url = browser, f"http://{address}/ui"
        self.contexts, self.tabs = [], []
        self.errors: list[str] = []
        self.allowed: list[tuple[str, str]] = []

    def allow(self, path: str, what: str) -> None:
        """Let the browser itself complain of answers that a test wants: those of a path, with these words."""
        self.allowed.append((path, what))

    def tab(self, address: str = "", size: tuple[int, int] = DESKTOP, *, is_followed: bool = True, **context_options):
        """Return a page that is open and follows changes, or asks for a token; without a daemon it does neither."""
        context = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, **context_options)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(NOTE)
        page = context.new_page()
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.goto(self.url + address)
        if is_followed:
            page.locator("#status[data-state=open], #login[open]").first.wait_for()
        self.contexts.append(context)
        self.tabs.append(page)
        return page

    def on_console(self, message) -> None:
        """Note a complaint, unless a test has allowed it."""
        if message.type not in ("error", "warning"):
            return
        origin = self.url.removesuffix("/ui")
        is_answer, where = message.text.startswith(REFUSED), message.location["url"]
        if is_answer and any(what in message.text and where.startswith(origin + path) for path, what in self.allowed):
            return
        self.errors.append(f"{message.text} ({message.location['url']})")

    def close(self) -> None:
        """Close the tabs; nothing must have gone wrong in any of them."""
        for tab in self.tabs:
            found = tab.evaluate("[window.ran, window.violations]")
            assert found == [0, []], found
        for context in self.contexts:
            context.close()
        assert self.errors == [], self.errors
