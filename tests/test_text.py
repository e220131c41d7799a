"""Numbers, sizes and tables as a person reads them."""

from loader.text import columns_that_fit, counts, many, plain, size, table


def test_table() -> None:
    assert table(["a", "b"], [["日本", "1"], ["x\x1b[31m\n", "22"]], [1]) == (
        "a             b\n-----------  --\n日本          1\nx\\x1b[31m\\n  22\n"
    )
    assert table(["name"], [["日本語日本語"]], cut=6) == "name\n-----\n日本…\n"
    assert columns_that_fit(["a", "b", "c"], [["xxx", "yyyy", "z"]], 9, 40) == 2
    assert columns_that_fit(["a" * 50], [], 9, 40) == 1


def test_words() -> None:
    assert [size(n) for n in (0, 999, 1000, 999_949, 999_950, 5e9, 5e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "999.9 kB",
        "1.0 MB",
        "5.0 GB",
        "5,000.0 GB",
    ]
    assert counts({"b": 1, "a": 1, "c": 2000}) == "c 2,000, a 1, b 1"
    assert plain("a\u202eb\x00é") == "a\\u202eb\\x00é"
    assert [many(0, "file"), many(1, "file"), many(2000, "entry", "entries")] == ["0 files", "1 file", "2,000 entries"]
