"""The pages about the daemon, and what holds for all pages: the keyboard reaches all, and axe-core finds no barrier."""

import re
from pathlib import Path

import pytest
from support import browser
from support.browser import choose, expect, see

pytestmark = pytest.mark.browser
MARKUP = '<img src=x onerror="window.ran=1">'
AXE = Path(__file__).resolve().parents[4] / "node_modules/axe-core/axe.min.js"


def test_the_start_page_shows_first_what_people_look_for(site, kv):
    kv.set("a", "1")
    tab = site.tab()
    expect(tab.locator("#tiles dt")).to_contain_text(["Keys", "Commands per second", "Memory", "Clients", "Writes are"])
    expect(tab.locator("#tiles div", has_text=re.compile("^Keys")).locator("dd")).to_have_text("1")
    expect(tab.locator("#info dt[title='server.keys']")).to_have_text("CURVE keys needed")
    expect(tab.locator("#warning")).to_be_hidden()
    origin = site.url.removesuffix("/ui")
    expect(tab.locator("#connect code")).to_contain_text([f"curl {origin}/kv/KEY", "kvsh --url ipc://"])
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    rate = tab.locator("#tiles div", has_text="Commands per second").locator("dd")
    expect(rate).to_have_text(re.compile(r"^[\d,]+$"))


SLOW = {"number": 7, "time": 1795996477924, "us": 127536, "command": "MULTISET", "key": MARKUP, "keys": 3, "who": "ada"}
SHARED = {"number": 6, "time": 1795996477900, "us": 12000, "command": "(commit)", "key": None, "keys": 0, "who": None}


def answer_slowlog(route):
    """Answer SLOWLOG: which command is slow is up to the machine."""
    if "SLOWLOG" in (route.request.post_data or ""):
        route.fulfill(json={"revision": 1, "result": [SLOW, SHARED]})
    else:
        route.continue_()


def test_the_slow_log_and_the_clients_are_pages(site, kv):
    kv.set(MARKUP, "v")
    tab = site.tab()
    tab.click("#info .pages >> text=Slow log")
    expect(tab.locator("#slowlog [aria-current=page]")).to_have_text("Slow log")
    expect(tab.locator("#slowlog-table, #slowlog-note").locator("visible=true")).to_have_count(1)
    tab.route(re.compile("/v1/commands"), answer_slowlog)
    tab.click("#slowlog-again")
    row = tab.locator("#slowlog-rows tr")
    expect(row.first.locator("td")).to_have_text(
        [re.compile(":"), "127.5 ms", "MULTISET", f"{MARKUP} and 2 more", "ada"]
    )
    expect(row.nth(1).locator("td")).to_have_text([re.compile(":"), "12.0 ms", "(commit)", "\u2013", "\u2013"])
    row.first.locator("a").click()
    see(tab, MARKUP, "v")
    tab.goto(f"{site.url}#/clients")
    expect(tab.locator("#clients-rows tr").first).to_contain_text("commands")
    tab.click("#clients-again")
    expect(tab.locator("#clients-rows tr").first).to_contain_text("process")


def test_tab_reaches_the_pane_in_the_middle(site, kv):
    kv.set("a", "1")
    tab = site.tab()
    expect(tab.locator("#keys li")).to_have_count(1)
    for _ in range(30):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "detail":
            break
    else:
        raise AssertionError("Tab does not reach the pane")
    tab.keyboard.press("End")
    expect(tab.locator("#sections section").last).to_be_in_viewport()


def test_each_landmark_has_a_name_of_its_own(site):
    tab = site.tab()
    names = tab.locator("nav").evaluate_all("(all) => all.map((nav) => nav.ariaLabel)")
    assert len(names) == 4
    assert len(set(names)) == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_barrier(site, kv, scheme, size):
    if not AXE.exists():
        pytest.skip("axe-core is missing: npm ci")
    kv.multiset(
        {"user:1": '{"a": [1, true, "x"]}', "blob": bytes(range(256)) * 200, "k" * 3000: "long", "rtl": "\u202ea"}
    )
    tab = site.tab("", size, color_scheme=scheme, bypass_csp=True)
    tab.evaluate(AXE.read_text())
    kv.set("user:1", '{"a": [1, false, "x"]}')
    long = f"#/key/{'k' * 3000}"
    for address in (
        "",
        "#/info",
        "#/changes",
        "#/key/user%3A1",
        "#/key/blob",
        long,
        "#/new",
        "#/slowlog",
        "#/clients",
    ):
        tab.evaluate(f"location.hash = '{address}'")
        tab.wait_for_timeout(150)
        assert barriers(tab) == [], address[:20]
    site.allow("/kv/", "status of 404")
    for prepare in (a_missing_key, a_tree, a_selection_in_the_tree, a_selection, a_question, a_history, an_editor):
        prepare(tab)
        assert barriers(tab) == [], prepare.__name__


def barriers(tab):
    """Return what axe-core finds: the rule and the elements."""
    found = tab.evaluate(
        "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.map((n) => n.html)]))"
    )
    return [(rule, nodes[:3]) for rule, nodes in found]


def a_missing_key(tab):
    tab.evaluate("location.hash = '#/key/none'")
    expect(tab.locator("#missing-text")).to_be_visible()


def to_keys(tab):
    tab.evaluate("location.hash = '#'")
    expect(tab.locator("#search")).to_be_visible()


def a_tree(tab):
    to_keys(tab)
    choose(tab, "view", "tree")
    tab.locator("#keys .folder").first.click()
    expect(tab.locator("#keys li[aria-level='2']")).to_have_count(1)


def a_selection_in_the_tree(tab):
    tab.locator("#keys li[aria-level='2']").click(modifiers=["ControlOrMeta"])
    expect(tab.locator("#selected")).to_have_text("1 selected")


def a_selection(tab):
    to_keys(tab)
    choose(tab, "view", "list")
    tab.click("#select")
    tab.locator("#keys li").first.click()


def a_question(tab):
    tab.click("#clear-selected")
    expect(tab.locator("#confirm")).to_be_visible()


def a_history(tab):
    tab.click("#confirm-no")
    tab.click("#select")
    tab.evaluate("location.hash = '#/key/user%3A1'")
    see(tab, "user:1")
    expect(tab.locator("#history-open")).to_be_enabled()
    tab.click("#history-open")
    tab.locator("#history summary").first.click()


def an_editor(tab):
    tab.click("#edit")
    expect(tab.locator("#editor")).to_be_visible()
