"""Where keys branch."""

from kvsh.grammar.key_prefixes import common_prefixes, longest_common_prefix


def test_stems_are_what_several_keys_begin_with():
    keys = [b"order:1", b"path/a/b", b"path/a/c", b"user:1", b"user:2:x", b"userx"]
    assert common_prefixes(keys, 0) == [b"path/", b"user:"]
    assert common_prefixes(keys, 5) == [b"path/a/"]
    assert [
        longest_common_prefix(keys),
        longest_common_prefix(keys[3:]),
        longest_common_prefix(["ab", "a"]),
        longest_common_prefix([b"ab"]),
    ] == [
        b"",
        b"user",
        "a",
        b"ab",
    ]
