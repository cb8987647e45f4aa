"""The keys on the left of the page: the list, the search, the tree, and several keys at once."""

import re
import signal

import pytest
from support.browser import choose, expect, keys, see, until

pytestmark = pytest.mark.browser


TYPE_AND_COUNT = """(text) => {
  const search = document.getElementById("search");
  search.value = text;
  search.dispatchEvent(new Event("input"));
  return document.querySelectorAll("#keys li").length;
}"""


def allow_an_absent_daemon(site):
    for what in ("status of 503", "status of 429", "net::ERR_"):
        site.allow("/", what)


def test_a_page_that_is_opened_before_the_daemon_starts_lists_the_keys_when_it_has(own_site, own_kv, daemon):
    own_kv.set("city", "Ahmedabad")
    daemon.stop()
    allow_an_absent_daemon(own_site)
    tab = own_site.tab(is_followed=False)
    expect(tab.locator("#list-error-text")).not_to_be_empty()
    assert not tab.inner_text("#list-error-text").startswith("SCAN")
    expect(tab.locator("#again")).to_be_visible()
    daemon.start()
    expect(tab.locator("#status")).to_have_text("connected")
    expect(tab.locator("#keys .key")).to_have_text(["city"])
    expect(tab.locator("#list-error")).to_be_hidden()


def test_a_search_that_is_not_answered_leaves_no_key_of_the_one_before(own_site, own_kv, daemon):
    own_kv.multiset({"city": "1", "user:1": "1", "user:2": "2"})
    allow_an_absent_daemon(own_site)
    tab = own_site.tab()
    expect(tab.locator("#keys .key")).to_have_text(["city", "user:1", "user:2"])
    daemon.signal(signal.SIGSTOP)
    try:
        tab.locator("#search").press_sequentially("user:")
        expect(tab.locator("#keys .key")).to_have_text(["user:1", "user:2"])
        expect(tab.locator("#keys")).to_have_attribute("aria-busy", "true")
        assert tab.evaluate(TYPE_AND_COUNT, "flag") == 0  # at once, before typing pauses
        expect(tab.locator("#count")).to_have_text("Loading keys …")
        expect(tab.locator("#list-error-text")).not_to_be_empty(timeout=20_000)
    finally:
        daemon.signal(signal.SIGCONT)
    expect(tab.locator("#no-keys")).to_have_text("No key begins with flag")
    expect(tab.locator("#list-error")).to_be_hidden()
    tab.fill("#search", "city")
    expect(tab.locator("#keys .key")).to_have_text(["city"])
    tab.locator("#keys li").click()
    see(tab, "city", "1")


def test_the_list_has_sizes_and_times_to_live_and_follows_them(site, kv):
    kv.set("a", "x" * 2048)
    kv.set("b", "1", ttl=3600)
    tab = site.tab()
    row = tab.locator("#keys li")
    expect(row.locator(".size")).to_have_text(["2.0 KiB", "1 B"])
    expect(row.locator(".ttl")).to_have_text(["", re.compile(r"^(1 h|59 min)$")])
    kv.set("a", "xyz", ttl=90)
    expect(row.locator(".size")).to_have_text(["3 B", "1 B"])
    expect(row.locator(".ttl").first).to_have_text("1 min")


def test_the_list_follows_keys_that_the_filter_of_the_changes_hides(site, kv):
    tab = site.tab()
    tab.fill("#prefix", "user:")
    tab.press("#prefix", "Enter")
    kv.set("city", "1")
    kv.set("user:1", "1")
    expect(tab.locator("#feed .key")).to_have_text(["user:1"])
    expect(tab.locator("#keys .key")).to_have_text(["city", "user:1"])
    kv.clear("city")
    expect(tab.locator("#keys .key")).to_have_text(["user:1"])


def test_a_search_for_a_part_of_keys_finds_them_in_any_case_and_follows(site, kv):
    kv.multiset({"user:Ada": "1", "user:Bob": "1", "ada:1": "1", "café": "1"})
    tab = site.tab()
    choose(tab, "match", "contains")
    expect(tab.locator("#keys li")).to_have_count(4)
    tab.fill("#search", "ADA")
    expect(tab.locator("#keys .key")).to_have_text(["ada:1", "user:Ada"])
    expect(tab.locator("#count")).to_have_text("2 keys found")
    kv.set("x-ada", "1")
    kv.set("x-eve", "1")
    expect(tab.locator("#keys .key")).to_have_text(["ada:1", "user:Ada", "x-ada"])
    tab.fill("#search", "none")
    expect(tab.locator("#no-keys")).to_have_text("No key contains none")


def test_a_search_is_bounded_shows_how_far_it_is_and_can_be_stopped(site, kv):
    kv.load((f"k:{at:05d}", "v") for at in range(5000))
    tab = site.tab()
    held = []
    tab.route(
        re.compile("limit=1000"),
        lambda route: held.append(route) if "after=" in route.request.url else route.continue_(),
    )
    choose(tab, "match", "contains")
    tab.fill("#search", "9999")
    expect(tab.locator("#count")).to_have_text("0 keys found, 1,000 of 5,000 searched")
    expect(tab.locator("#progress progress")).to_have_attribute("value", "0.2")
    tab.click("#stop")
    expect(tab.locator("#progress")).to_be_hidden()
    tab.unroute_all()
    tab.click("#more")
    expect(tab.locator("#keys .key")).to_have_text(["k:09999"] if "k:09999" in keys(tab) else [])
    expect(tab.locator("#no-keys")).to_have_text("No key contains 9999")
    # A search that finds much pauses after a page of it.
    tab.fill("#search", "k:00")
    expect(tab.locator("#count")).to_have_text("1,000 keys found, 1,000 of 5,000 searched")
    expect(tab.locator("#more")).to_have_text("Continue search")


def names(tab):
    return [text.split("\n")[0] for text in tab.locator("#keys li").all_inner_texts()]


def test_a_tree_opens_level_by_level_and_follows(site, kv):
    kv.multiset({f"user:{at:04d}:name": "v" for at in range(700)})
    kv.multiset({"city": "1", "conf/a/x": "1", "conf/b": "22"})
    tab = site.tab()
    choose(tab, "view", "tree")
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/", "user:"])
    expect(tab.locator("#keys .folder .size")).to_have_text(["2", re.compile(r"^\d+\+$")])
    tab.locator("#keys li", has_text="conf/").click()
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/", "a/", "b", "user:"])
    assert tab.locator("#keys li").nth(3).get_attribute("aria-level") == "2"
    tab.locator("#keys li", has_text="user:").click()
    expect(tab.locator("#keys li")).to_have_count(106)
    tab.locator("#keys li", has_text="More …").click()
    expect(tab.locator("#keys .key >> text=0150:")).to_be_visible()
    tab.locator("#keys li", has_text="user:").click()
    expect(tab.locator("#keys li")).to_have_count(5)
    tab.locator("#keys li").evaluate_all("(rows) => rows.forEach((row) => { row.dataset.mark = 'old'; })")
    kv.set("conf/c", "333")
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/", "a/", "b", "c", "user:"])
    expect(tab.locator("#keys li[data-mark=old]")).to_have_count(5)  # a click on a row that stays is not lost
    # By keyboard, and to a key.
    tab.focus("#search")
    for each in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        tab.keyboard.press(each)
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/", "a/", "x", "b", "c", "user:"])
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    see(tab, "conf/a/x", "1")
    tab.focus("#search")
    for each in ("ArrowUp", "ArrowLeft"):
        tab.keyboard.press(each)
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/", "a/", "b", "c", "user:"])
    # Another separator, and a part of the tree.
    tab.fill("#separator", ":")
    tab.press("#separator", "Enter")
    expect(tab.locator("#keys .key")).to_have_text(["city", "conf/a/x", "conf/b", "conf/c", "user:"])
    tab.fill("#search", "user:0001")
    expect(tab.locator("#keys .key")).to_have_text(["0001:"])


def test_a_tree_that_is_not_answered_leaves_no_key_of_the_one_before(own_site, own_kv, daemon):
    own_kv.multiset({"city": "1", "user:1": "1"})
    allow_an_absent_daemon(own_site)
    tab = own_site.tab()
    choose(tab, "view", "tree")
    expect(tab.locator("#keys .key")).to_have_text(["city", "user:"])
    daemon.signal(signal.SIGSTOP)
    try:
        assert tab.evaluate(TYPE_AND_COUNT, "user:") == 0
        expect(tab.locator("#count")).to_have_text("Loading keys …")
        expect(tab.locator("#list-error-text")).not_to_be_empty()
    finally:
        daemon.signal(signal.SIGCONT)
    expect(tab.locator("#keys .key")).to_have_text(["1"])
    expect(tab.locator("#list-error")).to_be_hidden()


def test_a_tree_asks_once_for_each_large_folder_and_not_for_each_key(site, kv):
    kv.load((f"{folder}:{at:04d}", "v") for folder in "abc" for at in range(3000))
    tab = site.tab()
    asked = []
    tab.on("request", lambda request: asked.append(request.post_data) if "SCAN" in (request.post_data or "") else None)
    choose(tab, "view", "tree")
    expect(tab.locator("#keys .key")).to_have_text(["a:", "b:", "c:"])
    expect(tab.locator("#keys")).to_have_attribute("aria-busy", "false")
    assert len(asked) <= 4


def test_several_keys_are_cleared_at_once_but_none_that_is_newer(site, kv):
    kv.multiset({f"user:{at}": "v" for at in range(6)})
    tab = site.tab()
    expect(tab.locator("#keys li")).to_have_count(6)
    tab.click("#select")
    rows = tab.locator("#keys li")
    rows.nth(1).click()
    rows.nth(3).click(modifiers=["Shift"])
    expect(tab.locator("#selected")).to_have_text("3 selected")
    assert tab.locator("#keys [aria-selected=true] .key").all_text_contents() == ["user:1", "user:2", "user:3"]
    tab.click("#clear-selected")
    expect(tab.locator("#confirm-text")).to_have_text("Clear 3 keys? This cannot be undone.")
    expect(tab.locator("#confirm-list li")).to_have_text(["user:1", "user:2", "user:3"])
    assert "danger" in tab.get_attribute("#confirm-yes", "class")
    tab.click("#confirm-no")
    assert kv.count("") == 6
    tab.click("#clear-selected")
    kv.set("user:2", "newer")
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text("2 keys cleared. 1 key changed meanwhile, and is kept.")
    assert sorted(kv.keys()) == [b"user:0", b"user:2", b"user:4", b"user:5"]
    expect(tab.locator("#keys .key")).to_have_text(["user:0", "user:2", "user:4", "user:5"])
    # With Ctrl the first one is chosen at once; Escape ends it.
    rows.first.click(modifiers=["ControlOrMeta"])
    expect(tab.locator("#selected")).to_have_text("1 selected")
    # A key that the search has hidden is no longer chosen, also when it comes again.
    tab.fill("#search", "user:4")
    expect(tab.locator("#selected")).to_have_text("Select keys")
    tab.fill("#search", "")
    expect(tab.locator("#keys li")).to_have_count(4)
    expect(tab.locator("#clear-selected")).to_be_disabled()
    rows.first.click()
    kv.clear("user:0")
    expect(tab.locator("#selected")).to_have_text("Select keys")
    tab.keyboard.press("Escape")
    expect(tab.locator("#selection")).to_be_hidden()


def test_several_keys_of_the_tree_are_cleared_at_once(site, kv):
    kv.multiset({"conf/a": "1", "conf/b": "2", "conf/c": "3", "city": "4", "user:1": "5"})
    tab = site.tab()
    choose(tab, "view", "tree")
    tab.locator("#keys li", has_text="conf/").click()
    rows = tab.locator("#keys li")
    expect(rows).to_have_count(6)
    rows.nth(0).click(modifiers=["ControlOrMeta"])
    rows.nth(3).click(modifiers=["Shift"])  # a range has the keys that are shown; a folder is no key
    expect(tab.locator("#selected")).to_have_text("3 selected")
    assert tab.locator("#keys .chosen .key").all_text_contents() == ["city", "a", "b"]
    rows.nth(1).click()  # the folder closes: what is not shown is not chosen
    expect(tab.locator("#selected")).to_have_text("1 selected")
    rows.nth(1).click()
    expect(rows).to_have_count(6)
    # By keyboard.
    tab.focus("#search")
    while "active" not in rows.nth(3).get_attribute("class"):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Space")
    expect(tab.locator("#selected")).to_have_text("2 selected")
    tab.click("#clear-selected")
    expect(tab.locator("#confirm-list li")).to_have_text(["city", "conf/b"])
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text("2 keys cleared.")
    expect(tab.locator("#keys .key")).to_have_text(["conf/", "a", "c", "user:"])
    assert sorted(kv.keys()) == [b"conf/a", b"conf/c", b"user:1"]
    # All with the prefix of the tree.
    tab.fill("#search", "conf/")
    expect(tab.locator("#keys .key")).to_have_text(["a", "c"])
    tab.click("#select")
    tab.click("#select-all")
    expect(tab.locator("#selected")).to_have_text("2 selected")
    tab.click("#clear-prefix")
    tab.click("#confirm-yes")
    expect(tab.locator("#no-keys")).to_have_text("No key begins with conf/")
    assert list(kv.keys()) == [b"user:1"]


def test_all_keys_with_a_prefix_are_cleared_with_their_count(site, kv):
    kv.load((f"user:{at:05d}", "v") for at in range(300))
    kv.set("city", "stays")
    tab = site.tab()
    tab.click("#select")
    expect(tab.locator("#clear-prefix")).to_be_hidden()
    tab.fill("#search", "user:")
    tab.click("#clear-prefix")
    expect(tab.locator("#confirm-text")).to_have_text(
        "Clear all 300 keys that begin with user:? This cannot be undone."
    )
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text("300 keys cleared.")
    expect(tab.locator("#no-keys")).to_have_text("No key begins with user:")
    assert list(kv.keys()) == [b"city"]


def test_a_change_of_an_unknown_kind_is_shown_and_changes_nothing(site, kv):
    site.allow("/v1/watch", "net::ERR")
    kv.set("city", "1")
    revision = kv.info("store")["store"]["revision"]
    change = f'{{"revision":{revision + 1},"kind":"touched","key":"city","fresh":1,"time":1795290398406}}'
    body = f"id: {revision + 1}\nevent: touched\ndata: {change}\n\n"
    headers = {"Content-Type": "text/event-stream", "Kvd-History": "x", "Kvd-Revision": str(revision)}
    tab = site.tab()
    tab.route(re.compile("/v1/watch"), lambda route: route.fulfill(headers=headers, body=body))
    tab.reload()
    expect(tab.locator("#feed .kind").first).to_have_text("touched")
    expect(tab.locator("#keys .key")).to_have_text(["city"])


def test_a_slow_daemon_leaves_the_last_search_and_the_last_key_on_the_page(site, kv):
    kv.multiset({"a:1": "one", "ab:2": "two"})
    tab = site.tab()
    expect(tab.locator("#keys li")).to_have_count(2)
    held = {}

    def hold(route):
        held[route.request.url.partition("/kv")[2]] = route

    tab.route(re.compile(r"/kv[?/]"), hold)
    tab.fill("#search", "ab")
    expect(tab.locator("#keys .key")).to_have_text(["ab:2"])
    until(tab, lambda: any("prefix=ab&" in path for path in held))
    tab.fill("#search", "a:")
    expect(tab.locator("#keys li")).to_have_count(0)
    until(tab, lambda: any("prefix=a%3A" in path for path in held))
    next(route for path, route in held.items() if "prefix=a%3A" in path).continue_()
    expect(tab.locator("#keys .key")).to_have_text(["a:1"])
    # The same for two keys that are opened one after the other, and answered the other way round.
    tab.evaluate("location.hash = '#/key/a%3A1'")
    see(tab, "a:1", "Loading")
    tab.evaluate("location.hash = '#/key/ab%3A2'")
    see(tab, "ab:2", "Loading")
    until(tab, lambda: "/ab%3A2" in held)
    held["/ab%3A2"].continue_()
    see(tab, "ab:2", "two")
    tab.unroute_all()
    see(tab, "ab:2", "two")


@pytest.mark.long
def test_a_hundred_thousand_keys(site, kv):
    """All ways to look at many keys, while they change."""
    kv.load((f"user:{at % 100:02d}:{at:06d}", "v" * (at % 300)) for at in range(100_000))
    tab = site.tab()
    expect(tab.locator("#count")).to_have_text("100,000 keys, the first 100 below")
    tab.fill("#search", "user:42:")
    expect(tab.locator("#count")).to_have_text("1,000 keys, the first 100 below")
    choose(tab, "match", "contains")
    tab.fill("#search", "99999")
    expect(tab.locator("#keys .key")).to_have_text(["user:99:099999"], timeout=60_000)
    expect(tab.locator("#count")).to_have_text("1 key found", timeout=60_000)
    choose(tab, "match", "begins")
    tab.fill("#search", "")
    choose(tab, "view", "tree")
    tab.locator("#keys li", has_text="user:").click()
    expect(tab.locator("#keys li")).to_have_count(101, timeout=60_000)
    choose(tab, "view", "list")
    tab.click("#select")
    tab.fill("#search", "user:")
    tab.click("#clear-prefix")
    expect(tab.locator("#confirm-text")).to_contain_text("Clear all 100,000 keys")
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text("100,000 keys cleared.", timeout=120_000)
    assert kv.count("") == 0
