"""One entry on the page: its value in parts, its editor, its history, and what may go wrong around it."""

import re

import pytest
from support.browser import PHONE, choose, expect, save, see, until

pytestmark = pytest.mark.browser
MIB = 2**20
PNG = bytes.fromhex("89504e470d0a1a0a0000")


def hold(held):
    """Return a handler that keeps requests: Playwright takes no builtin."""

    def keep(route):
        held.append(route)

    return keep


def test_the_title_stands_there_at_once_and_nothing_acts_on_the_entry_before(site, kv):
    kv.set("old", "old value")
    kv.set("new", "new value")
    tab = site.tab("#/key/old")
    see(tab, "old", "old value")
    held = []
    tab.route(re.compile("/kv/new"), hold(held))
    tab.locator("#keys li", has_text="new").click()
    see(tab, "new", "Loading")
    assert "old" not in tab.inner_text("#entry")
    for button in ("#clear", "#edit", "#download", "#copy-value", "#history-open"):
        expect(tab.locator(button)).to_be_disabled()
    until(tab, lambda: held)
    held[0].continue_()
    see(tab, "new", "new value")
    expect(tab.locator("#clear")).to_be_enabled()


def test_a_large_value_comes_in_parts(site, kv):
    value = bytes(range(256)) * (16 * MIB // 256)
    kv.set("blob", value)
    kv.set("text", "line of a text\n" * 40_000)
    tab = site.tab()
    sizes = []
    tab.on(
        "response", lambda answer: sizes.append(int(answer.headers["content-length"])) if "/kv/" in answer.url else None
    )
    tab.locator("#keys li", has_text="blob").click()
    expect(tab.locator("#value-note")).to_have_text("The first 32 KiB of 16 MiB.")
    expect(tab.locator("#entry-size")).to_have_text("16 MiB")
    tab.click("#value-more")
    expect(tab.locator("#value-note")).to_have_text("The first 64 KiB of 16 MiB.")
    assert sizes == [256 * 1024]
    tab.locator("#keys li", has_text="text").click()
    expect(tab.locator("#value-note")).to_have_text("The first 256 KiB of 586 KiB.")
    for shown in ("The first 512 KiB of 586 KiB.", ""):
        tab.click("#value-more")
        expect(tab.locator("#value-note")).to_have_text(shown)
    expect(tab.locator("#value")).to_have_attribute("aria-busy", "false")
    assert tab.evaluate("document.getElementById('value').textContent") == "line of a text\n" * 40_000
    expect(tab.locator("#value-more")).to_be_hidden()


def test_a_value_of_many_tokens_is_drawn_bit_by_bit_and_whole(site, kv):
    kv.set("json", f"[{'1,' * 20_000}1]")
    tab = site.tab("#/key/json")
    see(tab, "json", "1,")
    expect(tab.locator("#value")).to_have_attribute("aria-busy", "false")
    text = tab.evaluate("document.getElementById('value').textContent")
    assert text == "[\n" + "  1,\n" * 20_000 + "  1\n]"
    # Another key takes its place while it is drawn.
    kv.set("small", "one line")
    tab.reload()
    see(tab, "json", "1,")
    tab.locator("#keys li", has_text="small").click()
    see(tab, "small")
    expect(tab.locator("#value")).to_have_text("one line")
    tab.wait_for_timeout(300)
    expect(tab.locator("#value")).to_have_text("one line")


def test_parts_of_two_revisions_are_never_put_together(site, kv):
    kv.set("text", "line\n" * 120_000)
    tab = site.tab("#/key/text")
    expect(tab.locator("#value-note")).to_contain_text("The first 256 KiB")
    asked = []

    def answer(route):
        """Answer once as if the value had changed, before its change comes."""
        asked.append(route)
        later = {"ETag": '"999999999"', "Content-Range": "bytes 262144-262148/600000"}
        route.fulfill(status=206, headers=later, body="other") if len(asked) == 1 else route.continue_()

    tab.route(re.compile("/kv/text"), answer)
    tab.click("#value-more")
    expect(tab.locator("#value-more")).to_be_enabled()
    expect(tab.locator("#value-note")).to_contain_text("The first 256 KiB")
    assert len(asked) == 2
    assert "other" not in tab.evaluate("document.getElementById('value').textContent")


def test_a_value_that_a_browser_cannot_edit_is_replaced_by_a_file(site, kv, tmp_path):
    kv.set("long", "x" * MIB)
    kv.set("line", "é😀" * 20_000)
    kv.set("short", "y" * 200_000)
    tab = site.tab("#/key/long")
    expect(tab.locator("#value-note")).to_contain_text("The first 256 KiB of 1.0 MiB")
    tab.click("#edit")
    expect(tab.locator("#editor-note")).to_have_text("Values of more than 256 KiB are replaced by a file.")
    expect(tab.locator("#editor-value")).to_be_hidden()
    file = tmp_path / "f"
    file.write_bytes(b"from a file")
    tab.set_input_files("#editor-file", file)
    tab.click("#editor [type=submit]")
    see(tab, "long", "from a file")
    tab.goto(f"{site.url}#/key/line")
    see(tab, "line", "é😀")
    tab.click("#edit")
    expect(tab.locator("#editor-note")).to_have_text("A line is too long to be edited as text here.")
    expect(tab.locator("[name=form][value=text]")).to_be_disabled()
    tab.goto(f"{site.url}#/key/short")
    see(tab, "short", "yyy")
    tab.click("#edit")
    expect(tab.locator("#editor-value")).to_have_value("y" * 200_000)


PASTE = """(text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const event = new ClipboardEvent("paste", { clipboardData, cancelable: true, bubbles: true });
  return document.getElementById("editor-value").dispatchEvent(event);
}"""


def test_a_text_that_a_browser_cannot_edit_is_not_pasted(site, kv):
    tab = site.tab("#/new")
    assert tab.evaluate(PASTE, "x" * 200_000)
    assert not tab.evaluate(PASTE, "x" * 300_000)
    expect(tab.locator("#editor-error")).to_contain_text("more than 256 KiB: save it as a file")
    assert not tab.evaluate(PASTE, "é😀" * 20_000)
    expect(tab.locator("#editor-error")).to_contain_text("too long to be edited")


def test_a_key_that_is_not_there_says_so_and_can_be_created(site, kv):
    site.allow("/kv/", "status of 404")
    tab = site.tab("#/key/none%3A1")
    expect(tab.locator("#missing-text")).to_have_text("There is no key none:1.")
    expect(tab.locator("#info")).to_be_hidden()
    tab.click("#create")
    expect(tab.locator("#editor-key")).to_have_value("none:1")
    tab.fill("#editor-value", "now")
    tab.press("#editor-value", "Control+Enter")
    see(tab, "none:1", "now")
    assert kv.get("none:1") == b"now"
    kv.clear("none:1")
    tab.goto(f"{site.url}#/key/none%3A2")
    expect(tab.locator("#missing-text")).to_have_text("There is no key none:2.")
    kv.set("none:2", "came")
    see(tab, "none:2", "came")


def test_a_question_is_about_what_is_in_view(site, kv):
    kv.multiset({"one": "1", "two": "2"})
    tab = site.tab("#/key/one")
    see(tab, "one", "1")
    tab.click("#clear")
    expect(tab.locator("#confirm-text")).to_have_text("Clear one?")
    assert tab.get_attribute("#confirm-yes", "class") == "danger"
    tab.evaluate("location.hash = '#/key/two'")
    see(tab, "two", "2")
    expect(tab.locator("#confirm")).to_be_hidden()
    assert kv.count("") == 2


def test_a_long_key_does_not_fill_the_page(site, kv):
    key = "k" * 4000 + "end"
    kv.set(key, "v")
    for size in ((1280, 800), PHONE):
        tab = site.tab(f"#/key/{key}", size)
        expect(tab.locator("#value")).to_have_text("v")
        assert tab.locator("#entry-key").bounding_box()["height"] < 330
        expect(tab.locator("#value")).to_be_in_viewport()
        tab.click("#whole-key")
        expect(tab.locator("#entry-key")).to_have_text(key)
        assert tab.locator("#entry-key").bounding_box()["height"] < 330
        tab.click("#clear")
        assert len(tab.inner_text("#confirm-text")) < 100
        tab.click("#confirm-no")


def test_a_download_has_the_name_and_the_ending_that_fit(site, kv):
    for key, value, name in (
        ("a/png", PNG, "a_png.png"),
        ("logo.jpg", PNG, "logo.jpg"),
        ("doc", "{}", "doc.json"),
        ("note", "text", "note.txt"),
        ("raw", b"\xff\x00", "raw.bin"),
    ):
        kv.set(key, value)
        tab = site.tab(f"#/key/{key.replace('/', '%2F')}")
        see(tab, key)
        with tab.expect_download() as download:
            tab.click("#download")
        assert download.value.suggested_filename == name
        assert download.value.path().read_bytes() == kv.get(key)


def test_text_cannot_turn_the_direction_of_the_page(site, kv):
    kv.set("text", "abc \u202edlrow\u202c שלום")
    tab = site.tab("#/key/text")
    see(tab, "text", "abc \\u202edlrow\\u202c שלום")
    expect(tab.locator("#value .escape")).to_have_count(2)
    kv.set("text", "\u202eabc")
    expect(tab.locator("#feed .text")).to_have_text("\\u202eabc")
    see(tab, "text", "\\u202eabc")
    tab.click("#edit")
    expect(tab.locator("#editor-note")).to_contain_text("change the direction")
    tab.click("#editor [type=submit]")
    expect(tab.locator("#toast")).to_have_text("text is saved.")
    assert kv.get("text") == "\u202eabc".encode()


def test_keys_and_values_are_copied_as_they_are(site, kv):
    kv.set("user:1", '{"a":1}')
    kv.set("blob", b"\xff\x01")
    kv.set("large", "z" * 300_000)
    tab = site.tab("#/key/user%3A1", permissions=["clipboard-read", "clipboard-write"])
    read = "navigator.clipboard.readText()"
    see(tab, "user:1")
    tab.click("#copy-key")
    expect(tab.locator("#toast")).to_have_text("The key is copied.")
    assert tab.evaluate(read) == "user:1"
    for key, text in (("user:1", '{"a":1}'), ("blob", "ff01"), ("large", "z" * 300_000)):
        tab.locator("#keys li", has_text=key).click()
        see(tab, key)
        expect(tab.locator("#copy-value")).to_be_enabled()
        tab.evaluate("document.getElementById('toast').textContent = ''")
        tab.click("#copy-value")
        expect(tab.locator("#toast")).to_have_text("The value is copied.")
        assert tab.evaluate(read) == text
    # Without HTTPS a browser has no clipboard for a page.
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.evaluate("document.getElementById('toast').textContent = ''")
    tab.click("#copy-key")
    expect(tab.locator("#toast")).to_have_text("The key is copied.")


def test_the_history_of_a_key_has_its_kept_changes_page_by_page(site, kv):
    kv.set("city", "first")
    kv.clear("city")
    for at in range(25):
        kv.set("city", f"value {at}")
    kv.set("other", "1")
    tab = site.tab("#/key/city")
    see(tab, "city", "value 24")
    tab.click("#history-open")
    rows = tab.locator("#history-rows > li")
    expect(rows).to_have_count(20)
    expect(rows.first).to_contain_text("value 24")
    tab.click("#history-more")
    expect(rows).to_have_count(27)
    expect(rows.nth(25)).to_contain_text("clear")
    expect(tab.locator("#history-note")).to_contain_text("27 changes")
    rows.nth(26).locator("summary").click()
    expect(rows.nth(26).locator(".value")).to_have_text("first")
    tab.locator("#keys li", has_text="other").click()
    see(tab, "other", "1")
    expect(tab.locator("#history")).to_be_hidden()


def test_a_save_by_keyboard_keeps_a_line_end_out_of_the_value(site, kv):
    kv.set("a", "1")
    tab = site.tab("#/key/a")
    see(tab, "a", "1")
    tab.click("#edit")
    tab.fill("#editor-value", "2")
    tab.press("#editor-value", "Control+Enter")
    see(tab, "a", "2")
    assert kv.get("a") == b"2"
    save(tab, "3")
    see(tab, "a", "3")
    choose(tab, "show", "hex")
    expect(tab.locator("#value")).to_contain_text("33")
