"""The page at /ui, in a browser: what a person sees and does."""

import json
import re
import time

import pytest
from support import browser
from support.browser import clear, expect, keys, save, see

from kvd.errors import KvdError
from kvd.gateways.common.tokens import new_token, table_of

pytestmark = pytest.mark.browser
MARKUP = '<img src=x onerror="window.ran=1"><script>window.ran=2</script>'
ANY_BYTES = bytes(range(256))


def revisions(tab):
    return [int(text.replace(",", "")) for text in tab.locator("#feed .revision").all_text_contents()]


def test_a_key_set_in_one_page_appears_in_the_watch_of_another(site, kv):
    one, other = site.tab(), site.tab()
    one.click("#new")
    one.fill("#editor-key", "user:1")
    one.fill("#editor-value", "Ada\nLovelace")
    one.fill("#editor-ttl", "90")
    one.click("text=Save")
    see(one, "user:1", "Ada\nLovelace")
    expect(one.locator("#entry-expires")).to_have_text(re.compile(r"in 1 min \d+ s"))
    before = one.inner_text("#entry-expires")
    assert kv.get("user:1") == b"Ada\nLovelace"
    assert 80 < kv.ttl("user:1") <= 90

    row = other.locator("#feed .change")
    expect(row).to_have_count(1)
    expect(row.locator(".key")).to_have_text("user:1")
    expect(row.locator(".text")).to_have_text("Ada\nLovelace")
    expect(other.locator("#keys .key")).to_have_text(["user:1"])
    expect(other.locator("#chart")).to_have_attribute("aria-label", re.compile("1 at most"))
    row.click()
    see(other, "user:1", "Lovelace")
    expect(other.locator("#entry-size")).to_have_text("12 bytes")

    # What is open follows; a value saved keeps the time that its key has left; nothing there means that it stays.
    save(one, "Grace")
    see(other, "user:1", "Grace")
    assert 80 < kv.ttl("user:1") <= 90
    expect(one.locator("#entry-expires")).not_to_have_text(before)
    one.click("#edit")
    one.fill("#editor-ttl", "soon")
    one.click("text=Save")
    expect(one.locator("#editor-error")).to_contain_text("a number of seconds")
    one.fill("#editor-ttl", "")
    one.click("text=Save")
    expect(other.locator("#entry-expires")).to_have_text("never")
    kv.expire("user:1", 0.05)
    expect(other.locator("#toast")).to_have_text("user:1 has expired.")
    expect(other.locator("#keys li")).to_have_count(0)


def test_the_watch_goes_on_where_it_was_when_the_gateway_comes_back(own_site, own_kv, gateway, daemon):
    for path in ("/v1/watch", "/v1/commands"):
        for what in ("net::ERR_", "status of 503"):  # a gateway that is killed, and a daemon that is away
            own_site.allow(path, what)
    tab = own_site.tab()
    for at in range(3):
        own_kv.set(f"before:{at}", str(at))
    expect(tab.locator("#feed .change")).to_have_count(3)
    gateway.kill()
    expect(tab.locator("#status")).to_have_text("reconnecting")
    for at in range(20):
        own_kv.set(f"meanwhile:{at}", str(at))
    own_kv.clear("before:0")
    gateway.start()
    expect(tab.locator("#status")).to_have_text("connected")
    own_kv.set("after", "1")
    expect(tab.locator("#feed .change").first.locator(".key")).to_have_text("after")
    assert revisions(tab) == list(range(25, 0, -1))
    expect(tab.locator("#keys li")).to_have_count(23)

    daemon.kill()
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it looks at once
    expect(tab.locator("#status")).to_have_text("daemon away")
    daemon.start()
    expect(tab.locator("#status")).to_have_text("connected")
    for _ in range(100):
        try:
            own_kv.set("again", "1")
            break
        except KvdError:
            time.sleep(0.05)
    expect(tab.locator("#feed .change").first.locator(".key")).to_have_text("again")


def test_what_was_compacted_away_meanwhile_is_told_and_the_watch_goes_on(own_site, own_kv, gateway):
    own_site.allow("/", "net::ERR_")  # the list of keys too may be on its way when the gateway is killed
    own_site.allow("/v1/watch", "status of 410")
    tab = own_site.tab()
    own_kv.set("a", "1")
    expect(tab.locator("#feed .change")).to_have_count(1)
    tab.locator("#keys li").click()
    see(tab, "a", "1")
    gateway.kill()
    own_kv.set("a", "2")
    for at in range(5):
        own_kv.set(f"gone:{at}", "1")
    own_kv.compact(4)
    gateway.start()
    expect(tab.locator("#feed .gap")).to_contain_text("continues with new changes")
    expect(tab.locator("#status")).to_have_text("connected")
    expect(tab.locator("#keys li")).to_have_count(6)
    see(tab, "a", "2")  # its change was among those that are gone
    own_kv.set("b", "1")
    expect(tab.locator("#feed .change").first.locator(".key")).to_have_text("b")


def test_markup_is_text_wherever_it_stands(site, kv):
    site.allow("/kv/", "status of 412")
    kv.set(MARKUP, MARKUP)
    tab = site.tab()
    kv.set(MARKUP, MARKUP + "2")
    expect(tab.locator("#feed .key")).to_have_text(MARKUP)
    expect(tab.locator("#feed .text")).to_have_text(MARKUP + "2")
    tab.locator("#keys li").click()
    see(tab, MARKUP, MARKUP + "2")
    tab.click("#edit")
    expect(tab.locator("#editor-title")).to_have_text(MARKUP)
    kv.set(MARKUP, MARKUP + "3")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#conflict-value")).to_have_text(MARKUP + "3")
    tab.click("#overwrite")
    expect(tab.locator("#toast")).to_have_text(f"{MARKUP} is saved.")
    kv.set("json", json.dumps({MARKUP: [MARKUP]}))
    tab.fill("#search", "json")
    expect(tab.locator("#keys .key")).to_have_text(["json"])
    tab.locator("#keys li").click()
    expect(tab.locator("#value .name")).to_have_text(json.dumps(MARKUP))
    tab.fill("#search", MARKUP + "none")
    expect(tab.locator("#no-keys")).to_contain_text(MARKUP)
    tab.fill("#search", "<img")
    expect(tab.locator("#keys .key")).to_have_text([MARKUP])
    tab.locator("#keys li").click()
    see(tab, MARKUP)
    tab.click("#clear")
    expect(tab.locator("#confirm-text")).to_have_text(f"Clear {MARKUP}?")
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text(f"{MARKUP} is cleared.")
    assert tab.locator("img, body script").count() == 0


def test_a_key_that_was_changed_meanwhile_is_not_overwritten_unasked(site, kv):
    site.allow("/kv/", "status of 412")
    site.allow("/kv/", "status of 404")
    kv.set("city", "Ahmedabad")
    tab = site.tab("#/key/city")
    see(tab, "city", "Ahmedabad")
    tab.click("#edit")
    tab.fill("#editor-value", "mine")
    kv.set("city", "Surat")
    expect(tab.locator("#editor-note")).to_contain_text("Changed meanwhile")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#conflict-text")).to_have_text(re.compile(r"^city is at revision [\d,]+ now:$"))
    expect(tab.locator("#conflict-value")).to_have_text("Surat")
    assert kv.get("city") == b"Surat"
    tab.click("#take-theirs")
    see(tab, "city", "Surat")
    tab.click("#edit")
    kv.set("city", "Vadodara")
    tab.fill("#editor-value", "mine")
    tab.click("#editor [type=submit]")
    tab.click("#overwrite")
    see(tab, "city", "mine")
    assert kv.get("city") == b"mine"
    # It was cleared meanwhile.
    tab.click("#edit")
    tab.fill("#editor-value", "again")
    kv.clear("city")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#conflict-text")).to_have_text("city was cleared meanwhile.")
    tab.click("#overwrite")
    see(tab, "city", "again")
    # A new key that is none.
    tab.click("#new")
    tab.fill("#editor-key", "city")
    tab.fill("#editor-value", "new")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#conflict-title")).to_have_text("The key exists already")
    expect(tab.locator("#conflict-value")).to_have_text("again")
    # What is not saved is not left by accident.
    tab.locator("#keys li").click()
    tab.click("#confirm-no")
    expect(tab.locator("#editor-value")).to_have_value("new")
    tab.keyboard.press("Escape")
    tab.click("#confirm-yes")
    expect(tab.locator("#editor")).to_be_hidden()
    assert kv.get("city") == b"again"


def test_clear_asks_once_and_takes_nothing_that_is_newer(site, kv):
    site.allow("/kv/", "status of 412")
    kv.set("job", "1")
    tab = site.tab("#/key/job")
    tab.click("#clear")
    tab.click("#confirm-no")
    assert kv.get("job") == b"1"
    tab.click("#clear")
    kv.set("job", "2")
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_contain_text("changed meanwhile")
    see(tab, "job", "2")
    tab.click("#clear")
    tab.click("#confirm-yes")
    expect(tab.locator("#toast")).to_have_text("job is cleared.")
    assert kv.get("job") is None
    expect(tab.locator("#no-keys")).to_have_text("There are no keys yet.")
    expect(tab.locator("#feed .change").first).to_have_class("change clear")
    expect(tab.locator("#info")).to_be_visible()


def test_keys_come_page_by_page(site, kv):
    kv.multiset({f"k:{at:03d}": "v" for at in range(250)})
    kv.set("other", "v")
    tab = site.tab()
    tab.fill("#search", "k:")
    expect(tab.locator("#count")).to_have_text("250 keys, the first 100 below")
    assert keys(tab) == [f"k:{at:03d}" for at in range(100)]
    kv.set("k:0505", "v")  # between two that are there, and one that is further on
    kv.set("k:2000", "v")
    kv.clear("k:007")
    expect(tab.locator("#keys .key >> text=k:0505")).to_be_visible()
    for _ in range(2):
        tab.locator("#more").scroll_into_view_if_needed()
        expect(tab.locator("#more")).to_be_enabled()
        tab.wait_for_timeout(100)
    expect(tab.locator("#keys li")).to_have_count(251)
    assert keys(tab) == sorted({f"k:{at:03d}" for at in range(250)} - {"k:007"} | {"k:0505", "k:2000"})
    expect(tab.locator("#more")).to_be_hidden()
    tab.fill("#search", "k:24")
    expect(tab.locator("#count")).to_have_text("10 keys")
    assert keys(tab) == [f"k:{at}" for at in range(240, 250)]


def test_any_bytes_are_a_value_and_a_key(site, kv, tmp_path):
    site.allow("/kv/", "status of 404")  # the change of a save may be read when the key is cleared already
    key = bytes(range(256)) + "/é%?#+".encode()
    kv.multiset(dict.fromkeys((key, b".", b"..", b"a/../b", b"\\x41"), ANY_BYTES))
    tab = site.tab()
    expect(tab.locator("#keys li")).to_have_count(5)
    shown = tab.locator("#keys li").first
    expect(shown).to_contain_text("\\x00\\x01")
    expect(shown).to_contain_text("\\xfe\\xff/é%?#+")
    shown.click()
    expect(tab.locator("#value")).to_contain_text("000000  00 01 02")
    expect(tab.locator("#value")).to_contain_text("000040  40 41 42")
    assert tab.locator("[name=show][value=text]").is_disabled()
    # As hex, as base64, as a file; and what is no hex.
    tab.click("#edit")
    expect(tab.locator("#editor-value")).to_have_value(re.compile("^00 01 02 03 .* 0f\n10 11"))
    tab.fill("#editor-value", "ff 0")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#editor-error")).to_contain_text("Hex is pairs")
    tab.fill("#editor-value", "fF00")
    tab.check("[name=form][value=base64]")
    expect(tab.locator("#editor-value")).to_have_value("/wA=")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#entry-size")).to_have_text("2 bytes")
    assert kv.get(key) == b"\xff\x00"
    file = tmp_path / "f"
    file.write_bytes(ANY_BYTES[::-1] * 8000)  # more than is edited
    tab.click("#edit")
    tab.check("[name=form][value=file]")
    tab.set_input_files("#editor-file", file)
    tab.click("#editor [type=submit]")
    expect(tab.locator("#value-note")).to_contain_text("The first 32 KiB of 2.0 MiB")
    assert kv.get(key) == file.read_bytes()
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.path().read_bytes() == file.read_bytes()
    # Keys that a URL's path would lose, and one that looks like an escape.
    for text, each in ((".", b"."), ("..", b".."), ("a/../b", b"a/../b"), ("\\\\x41", b"\\x41")):
        tab.fill("#search", text)
        expect(tab.locator("#keys .key").first).to_have_text(text)
        tab.locator("#keys li").first.click()
        see(tab, text, "000000  00 01")
        save(tab, "73 61 76 65 64")
        see(tab, text, "saved")  # the dump of all bytes has each letter alone
        assert kv.get(each) == b"saved"
        clear(tab)
        expect(tab.locator("#toast")).to_have_text(f"{text} is cleared.")
        assert kv.get(each) is None
    tab.click("#new")
    tab.fill("#editor-key", "\\xFF\\\\é")
    tab.fill("#editor-value", "v")
    tab.click("#editor [type=submit]")
    see(tab, "\\xff\\\\é", "v")
    assert kv.get(b"\xff\\\xc3\xa9") == b"v"


def test_text_and_json_are_kept_as_they_are(site, kv):
    kv.set("dos", "one\r\ntwo\r\n")
    kv.set("mixed", "one\r\ntwo\nthree")
    kv.set("bom", "\ufeffx")
    kv.set("json", '{"id":12345678901234567890,"a":[],"b":[1.10,{"c":"d\\"e"}]}')
    kv.set("nul", "a\0b")
    tab = site.tab("#/key/dos")
    save(tab, "one\ntwo\nthree\n")
    see(tab, "dos", "three")
    assert kv.get("dos") == b"one\r\ntwo\r\nthree\r\n"
    tab.goto(f"{site.url}#/key/mixed")
    see(tab, "mixed", "three")
    tab.click("#edit")
    assert tab.locator("[name=form][value=text]").is_disabled()
    expect(tab.locator("#editor-value")).to_have_value(re.compile("^6f 6e 65 0d 0a"))
    tab.goto(f"{site.url}#/key/bom")
    see(tab, "bom")
    save(tab, "\ufeffy")
    see(tab, "bom", "y")
    assert kv.get("bom") == "\ufeffy".encode()
    tab.goto(f"{site.url}#/key/nul")
    see(tab, "nul", "61 00 62")
    tab.goto(f"{site.url}#/key/json")
    see(
        tab,
        "json",
        '  "id": 12345678901234567890,\n  "a": [],\n  "b": [\n    1.10,\n    {\n      "c": "d\\"e"\n    }\n  ]\n}',
    )
    tab.check("[name=show][value=text]")
    see(tab, "json", '{"id":12345678901234567890,"a":[]')
    kv.set("json", "{no")
    see(tab, "json", "{no")


def test_a_pause_loses_nothing_and_the_list_is_bounded(own_site, own_kv):
    tab = own_site.tab()
    own_kv.set("user:1", "1")
    expect(tab.locator("#feed .change")).to_have_count(1)
    tab.click("#pause")
    for at in range(2, 5):
        own_kv.set(f"user:{at}", "1")
    expect(tab.locator("#pause")).to_have_text("Resume, 3 waiting")
    expect(tab.locator("#keys li")).to_have_count(4)  # they are not paused
    assert revisions(tab) == [1]
    tab.click("#pause")
    expect(tab.locator("#feed .change")).to_have_count(4)
    assert revisions(tab) == [4, 3, 2, 1]
    tab.click("#pause")
    own_kv.multiset({f"k:{at:03d}": "v" for at in range(600)})
    expect(tab.locator("#pause")).to_have_text("Resume, 600 waiting")
    tab.click("#pause")
    expect(tab.locator("#feed .gap")).to_have_text("101 older changes are not shown.")
    assert revisions(tab) == list(range(604, 105, -1))
    # Only what begins with a prefix.
    tab.fill("#prefix", "user:")
    tab.press("#prefix", "Enter")
    expect(tab.locator("#feed li")).to_have_count(0)
    expect(tab.locator("#status")).to_have_text("connected")
    tab.wait_for_timeout(300)  # the other watch has begun
    own_kv.set("k:000", "not seen")
    own_kv.set("user:9", "1")
    expect(tab.locator("#feed .key")).to_have_text(["user:9"])


def test_a_keyboard_is_enough(site, kv):
    kv.multiset({f"user:{at}": f"value {at}" for at in range(5)})
    tab = site.tab()
    press, focused = tab.keyboard.press, tab.locator(":focus")

    def reach(identity):
        for _ in range(30):
            press("Tab")
            if tab.evaluate("document.activeElement.id || document.activeElement.textContent") == identity:
                assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                return
        raise AssertionError(f"Tab does not reach {identity}")

    expect(tab.locator("#keys li")).to_have_count(5)
    press("/")
    expect(focused).to_have_id("search")
    tab.keyboard.type("user:")
    tab.wait_for_timeout(300)
    for arrow in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        press(arrow)
    assert (
        tab.locator(f"#{tab.get_attribute('#search', 'aria-activedescendant')}").locator(".key").inner_text()
        == "user:1"
    )
    press("Enter")
    see(tab, "user:1", "value 1")
    expect(focused).to_have_id("entry-key")
    assert tab.locator("#keys [aria-selected=true] .key").all_text_contents() == ["user:1"]
    reach("edit")
    press("Enter")
    expect(focused).to_have_id("editor-value")
    press("Control+a")
    tab.keyboard.type("by hand")
    reach("Save")
    press("Enter")
    see(tab, "user:1", "by hand")
    assert kv.get("user:1") == b"by hand"
    expect(focused).to_have_id("entry-key")
    reach("clear")
    press("Enter")
    expect(focused).to_have_id("confirm-no")
    press("Escape")
    expect(tab.locator("#confirm")).to_be_hidden()
    press("Escape")
    expect(tab.locator("#entry")).to_be_hidden()
    expect(focused).to_have_id("search")
    kv.set("user:7", "value 7")
    expect(tab.locator("#feed .change")).to_have_count(2)
    reach("pause")
    for each in ("Tab", "ArrowUp", "ArrowDown", "ArrowUp", "Enter"):
        press(each)
    see(tab, "user:7", "value 7")
    press("/")
    press("Escape")  # takes back what is typed
    expect(tab.locator("#search")).to_have_value("")


def test_a_token_is_asked_for_and_kept_for_the_tab(chromium, make_gateway, daemon, own_kv, tmp_path):
    token = new_token()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(table_of("ada", token))
    gateway = make_gateway("http", daemon.commands, "--token-file", str(tokens))
    site = browser.Site(chromium, gateway.address)
    for path in ("/kv?", "/v1/"):
        site.allow(path, "status of 401")
    own_kv.set("secret", "1")
    tab = site.tab()
    expect(tab.locator("#login")).to_be_visible()
    assert keys(tab) == []
    tab.fill("#token", "wrong")
    tab.press("#token", "Enter")
    expect(tab.locator("#login-error")).to_contain_text("is not valid")
    tab.keyboard.press("Escape")
    expect(tab.locator("#login")).to_be_visible()
    tab.fill("#token", token)
    tab.press("#token", "Enter")
    expect(tab.locator("#login")).to_be_hidden()
    expect(tab.locator("#status")).to_have_text("connected")
    expect(tab.locator("#keys .key")).to_have_text(["secret"])
    own_kv.set("secret", "2")
    expect(tab.locator("#feed .change")).to_have_count(1)
    assert token not in tab.url
    assert tab.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    tab.reload()
    expect(tab.locator("#status")).to_have_text("connected")
    expect(tab.locator("#login")).to_be_hidden()
    site.close()


def test_a_phone_shows_one_thing_at_a_time_and_info_is_told(site, kv):
    kv.set("k" * 200, "v" * 3000)
    kv.set("bytes", ANY_BYTES)
    tab = site.tab("", browser.PHONE)
    for hash_, seen in (("", "#keys"), ("#/changes", "#chart"), ("#/info", "#info"), ("#/new", "#editor")):
        tab.goto(site.url + hash_)
        expect(tab.locator(seen)).to_be_visible()
        assert tab.locator(".pane:visible").count() == 1
        assert tab.evaluate("document.documentElement.scrollWidth") == browser.PHONE[0]
    tab.click(".tabs >> text=Keys")
    tab.locator("#keys li").last.click()
    see(tab, "k" * 200, "v" * 3000)
    assert tab.evaluate("document.documentElement.scrollWidth") == browser.PHONE[0]
    tab.click("#entry .back")
    expect(tab.locator("#search")).to_be_visible()
    tab.locator("#keys li").first.click()
    see(tab, "bytes", "000008  08 09")
    tab.click(".tabs >> text=Daemon")
    expect(tab.locator("#info-store")).to_contain_text("revision")
    expect(tab.locator("#info dt[title='store.keys'] + dd")).to_have_text("2")
    tab.go_back()
    see(tab, "bytes")
