"""Where keys branch."""

from kvsh.grammar.stems import shared, stems


def test_stems_are_what_several_keys_begin_with():
    keys = [b"order:1", b"path/a/b", b"path/a/c", b"user:1", b"user:2:x", b"userx"]
    assert stems(keys, 0) == [b"path/", b"user:"]
    assert stems(keys, 5) == [b"path/a/"]
    assert [shared(keys), shared(keys[3:]), shared(["ab", "a"]), shared([b"ab"])] == [b"", b"user", "a", b"ab"]
