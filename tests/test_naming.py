"""Names: the conformance data, the examples of warehouse-schema.md (sections 2 and 4), and what holds for any text."""

import hashlib
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loader.naming import RESERVED_WORDS, TAKEN_TABLES, column_name, escape, identifier, table_name

CONFORMANCE = Path(__file__).parent / "conformance"
NAMES: list[dict[str, str]] = [
    json.loads(line) for line in (CONFORMANCE / "names.jsonl").read_text(encoding="utf-8").splitlines()
]

# Dense: words, ordinals, borders, digits and letters of other scripts, fullwidth forms, marks, and a part that NFKC
# turns into several words.
DENSE = "aA1_ -é日"
DENSER = DENSE + "sStThH2nNdDИ٣ｂ２½Σ\u0301\u0308ΪİﷺǅﾞK"
ANY_CHARACTER = st.characters()  # lone surrogates too, which st.text() leaves out
TEXTS = st.one_of(
    st.text(),
    st.text(ANY_CHARACTER),
    st.text(DENSE),
    st.text(DENSER),
    st.text(st.sampled_from("a1_ tsé日٣"), min_size=60, max_size=150),
    st.sampled_from(sorted(RESERVED_WORDS | TAKEN_TABLES)),
)


def suffix(whole: str) -> str:
    """Rule 6, spelled out: the first 8 hex digits of the SHA-256 as letters, 0 is a, f is p."""
    return "".join("abcdefghijklmnop"[int(digit, 16)] for digit in hashlib.sha256(whole.encode()).hexdigest()[:8])


def test_conformance_data_is_all_there() -> None:
    assert len(NAMES) == 209
    assert frozenset((CONFORMANCE / "reserved_words.txt").read_text().split()) == RESERVED_WORDS
    assert len(RESERVED_WORDS) == 93


@pytest.mark.parametrize("case", NAMES, ids=lambda case: ascii(case["input"]))
def test_conformance_names(case: dict[str, str]) -> None:
    assert identifier(case["input"]) == case["name"]
    assert identifier(case["input"], divide_numbers=True) == case["name_divide_numbers"]
    assert column_name(case["input"]) == case["escaped"]
    assert escape(case["name"]) == case["escaped"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("camelCase", "camel_case"),
        ("XMLHttpRequest2", "xml_http_request2"),
        ("userIDs", "user_i_ds"),
        ("9lives", "_9lives"),
        ("order", "_order"),
        ("a.b", "a_b"),
        ("日本語", "日本語"),
        ("address.город", "address_город"),
        ("_id", "_id"),
        ("_select", "_select"),
        ("Ñandú", "_and"),
    ],
)
def test_examples_of_the_text(text: str, name: str) -> None:
    assert column_name(text) == name
    assert table_name(text) == name


@pytest.mark.parametrize(
    ("text", "name", "divided"),
    [
        ("ABc", "a_bc", "a_bc"),
        ("userID.x", "user_id_x", "user_id_x"),
        ("HTTP日x", "http_x", "http_x"),
        ("iOS17Beta", "i_os17_beta", "i_os_17_beta"),
        ("21stCentury", "_21st_century", "_21st_century"),
        ("21STcentury", "_21st_century", "_21st_century"),
        ("21stcentury", "_21stcentury", "_21_stcentury"),
        ("top 4th", "top_4th", "top_4th"),
        ("11th", "_11th", "_11_th"),
        ("1sté", "_1st", "_1st"),
        ("a\nb\n", "a_b", "a_b"),
    ],
)
def test_words_of_a_run(text: str, name: str, divided: str) -> None:
    assert identifier(text) == name
    assert identifier(text, divide_numbers=True) == divided


@pytest.mark.parametrize("name", sorted(TAKEN_TABLES))
def test_an_event_never_gets_a_table_of_the_loader(name: str) -> None:
    assert identifier(name.upper()) == name
    assert column_name(name) == name
    assert table_name(name) == f"_{name}"
    assert table_name(name.title().replace("_", " ")) == f"_{name}"
    assert table_name(f"_{name}") == f"_{name}"


def test_taken_tables_are_those_of_section_2() -> None:
    call_tables = {"tracks", "identifies", "users", "pages", "screens", "groups", "aliases", "resets", "accounts"}
    assert call_tables | {"sessions", "timeline", "user_traits", "other_events"} == TAKEN_TABLES


def test_reserved_words_are_escaped_in_names_but_not_in_identifiers() -> None:
    assert identifier("Order") == "order"
    assert column_name("Order") == table_name("Order") == "_order"
    assert escape("order") == "_order"
    assert escape("_order") == "_order"
    assert escape("orders") == "orders"
    assert column_name("Current Timestamp") == "_current_timestamp"


# Rule 6: names too long.


@pytest.mark.parametrize(
    "name",
    [
        "a" * 127,
        "é" * 63,  # 126
        "é" * 62 + "_ab",  # 124 + 3
        "日" * 41 + "_abc",  # 123 + 4
        "_" * 127,
        "_" + "1" * 126,
    ],
    ids=lambda name: f"{name[:4]}{len(name)}",
)
def test_a_name_of_at_most_127_bytes_is_whole(name: str) -> None:
    assert identifier(name) == column_name(name) == table_name(name) == name


@pytest.mark.parametrize(
    ("text", "whole", "head"),
    [
        ("a" * 128, "a" * 128, "a" * 118),
        ("A" * 500, "a" * 500, "a" * 118),
        # The `_` before a digit belongs to the whole name.
        ("1" * 127, "_" + "1" * 127, "_" + "1" * 117),
        # The head may end in `_`.
        ("a." * 64 + "b", "a_" * 64 + "b", "a_" * 59),
        ("a" * 117 + " bcdefghijk", "a" * 117 + "_bcdefghijk", "a" * 117 + "_"),
        ("a" * 118 + " bcdefghij", "a" * 118 + "_bcdefghij", "a" * 118),
        # 128 bytes: 64 letters of 2. 118 is a border (59), with one byte in front it is not.
        ("é" * 64, "é" * 64, "é" * 59),
        ("_" + "é" * 64, "_" + "é" * 64, "_" + "é" * 58),
        # 3 bytes: 39 are 117, the 40th would end at 120; with one in front the 39th ends at 118.
        ("日" * 43, "日" * 43, "日" * 39),
        ("_" + "日" * 43, "_" + "日" * 43, "_" + "日" * 39),
        ("__" + "日" * 42, "__" + "日" * 42, "__" + "日" * 38),
        # 4 bytes: 29 are 116; with 3 in front 28 end at 115, the least that a head can have.
        ("𠀀" * 32, "𠀀" * 32, "𠀀" * 29),
        ("___" + "𠀀" * 32, "___" + "𠀀" * 32, "___" + "𠀀" * 28),
        ("_" * 128, "_" * 128, "_" * 118),
    ],
    ids=lambda text: f"{text[:4]}{len(text)}",
)
def test_a_longer_name_is_cut(text: str, whole: str, head: str) -> None:
    cut = f"{head}_{suffix(whole)}"
    assert 115 <= len(head.encode()) <= 118
    assert identifier(text) == column_name(text) == table_name(text) == cut
    assert identifier(cut) == column_name(cut) == table_name(cut) == cut


def test_suffixes_known_from_sha256sum() -> None:
    # printf 'aaa…' | sha256sum: 6836cf13…, dbc382b4…, 037b3a72…
    assert identifier("a" * 128) == "a" * 118 + "_gidgmpbd"
    assert identifier("a_" * 64 + "b") == "a_" * 59 + "_nlmdicle"
    assert identifier("日" * 43) == "日" * 39 + "_adhldkhc"


def test_names_that_differ_behind_the_cut_stay_apart() -> None:
    names = {identifier("a" * 150 + f"_{number}") for number in range(1000)}
    assert len(names) == 1000


@pytest.mark.parametrize(
    ("text", "whole", "head"),
    [
        # Inside `21st`: `2` + `1s` would be two words.
        ("a" * 114 + " 21st bcdefghijk", "a" * 114 + "_21st_bcdefghijk", "a" * 114 + "_21s"),
        ("a" * 114 + " 22nd bcdefghijk", "a" * 114 + "_22nd_bcdefghijk", "a" * 114 + "_22n"),
        ("a" * 114 + " 23RD bcdefghijk", "a" * 114 + "_23rd_bcdefghijk", "a" * 114 + "_23r"),
        ("a" * 114 + " 24th bcdefghijk", "a" * 114 + "_24th_bcdefghijk", "a" * 114 + "_24t"),
        # Digits and a mark of another script whose letter is cut off would be no word.
        ("a" * 113 + " ٣٣٣٣٣٣٣ب", "a" * 113 + "_٣٣٣٣٣٣٣ب", "a" * 113 + "_٣٣"),
    ],
)
def test_a_cut_inside_a_word_is_kept_when_read_again(text: str, whole: str, head: str) -> None:
    cut = f"{head}_{suffix(whole)}"
    assert identifier(text, divide_numbers=True) == cut
    assert identifier(cut, divide_numbers=True) == cut


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a__bcdefghi", "a_bcdefghi"),  # no cut has such a short head
        ("a" * 113 + "__bcdefghi", "a" * 113 + "_bcdefghi"),  # 114: any character would have fitted behind it
        ("a" * 117 + "__qrstuvwx", "a" * 117 + "_qrstuvwx"),  # not a–p
        ("A" * 117 + "__bcdefghi", "a" * 117 + "_bcdefghi"),  # upper case is not a name
    ],
)
def test_text_that_only_resembles_a_cut_name(text: str, name: str) -> None:
    assert identifier(text) == name


# Rule 7: other scripts.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Город", "город"),
        ("город2", "_2"),  # an ASCII digit in the run: rule 2
        ("город_2", "город_2"),
        ("é", "é"),
        ("É x", "é_x"),
        ("e\u0301", "e"),  # the mark is in a run with an ASCII letter
        ("е\u0308", "ё"),  # Cyrillic: NFKC composes
        ("हिन्दी नाम", "हिन्दी_नाम"),  # marks belong to words
        ("می\u200cخواهم", "می_خواهم"),  # a format character separates
        ("ﾃﾞｰﾀ", "データ"),
        ("ＡＢＣ", "abc"),
        ("ＵｓｅｒＩＤ", "userid"),  # one word, though `UserID` is two
        ("ﬁ", "fi"),
        ("ｏｒｄｅｒ", "_order"),
        ("１ａ", "_1a"),
        ("٣ب", "_٣ب"),  # a digit in front, of whatever script
        ("ΟΔΟΣ", "οδος"),
        ("Ϊ\u0301", "ΐ"),  # one character only in lower case
        ("ẞ", "ß"),
        ("😀日本😀", "日本"),
    ],
    ids=ascii,
)
def test_other_scripts(text: str, name: str) -> None:
    assert column_name(text) == name
    assert column_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("住所１", "住所_1"),
        ("商品ＩＤ", "商品_id"),
        ("Ｗｅｂサイト", "web_サイト"),
        ("①番", "_1_番"),
        ("é½", "é_1_2"),
        ("ａ１ａ", "a1_a"),
        ("ǅ", "d_ž"),
        ("ŉ", "ʼ_n"),
        ("İ", "i"),  # lower case is `i` and a mark
        ("ﷺ", "صلى_الله_عليه_وسلم"),
    ],
    ids=ascii,
)
def test_a_word_that_nfkc_mixes_with_ascii_is_divided(text: str, name: str) -> None:
    assert column_name(text) == name
    assert column_name(name) == name


def test_a_divided_number_in_fullwidth() -> None:
    assert identifier("ｅｍａｉｌ２") == "email2"
    assert identifier("ｅｍａｉｌ２", divide_numbers=True) == "email_2"


# Rule 8: nothing to call it by.


@pytest.mark.parametrize("text", ["", " ", "-", "😀", "$%&", "\x00", " _", "½", "٣", "\u0301", "ﾞ", "\ud800"], ids=ascii)
def test_no_name(text: str) -> None:
    assert identifier(text) is None
    assert column_name(text) is None
    assert table_name(text) is None


@pytest.mark.parametrize(("text", "name"), [("_", "_"), ("___", "___"), ("_-_", "_"), ("__😀", "__"), ("_½", "_")])
def test_only_underscores(text: str, name: str) -> None:
    assert identifier(text) == column_name(text) == table_name(text) == name


# Any text.


@given(text=TEXTS, divide_numbers=st.booleans())
@example(text="a_" * 64 + "b", divide_numbers=False)
@example(text="a" * 114 + "_21st" + "b" * 20, divide_numbers=True)
@example(text="Ϊ\u0301", divide_numbers=False)
def test_names_are_idempotent(text: str, divide_numbers: bool) -> None:
    for function in (identifier, column_name, table_name):
        name = function(text, divide_numbers)
        assert name is None or function(name, divide_numbers) == name


@given(text=TEXTS, divide_numbers=st.booleans())
def test_names_are_well_formed(text: str, divide_numbers: bool) -> None:
    for function in (identifier, column_name, table_name):
        name = function(text, divide_numbers)
        if name is None:
            continue
        assert name != ""
        assert not name[0].isdigit()
        assert len(name.encode()) <= 127
        assert name == name.lower() == unicodedata.normalize("NFKC", name)
        assert all(letter == "_" or unicodedata.category(letter)[0] in "LNM" for letter in name)


@given(text=TEXTS, divide_numbers=st.booleans())
def test_the_three_names_agree(text: str, divide_numbers: bool) -> None:
    name = identifier(text, divide_numbers)
    column, table = column_name(text, divide_numbers), table_name(text, divide_numbers)
    if name is None:
        assert column is None
        assert table is None
        return
    assert column == ("_" + name if name in RESERVED_WORDS else name)
    assert table == ("_" + column if column in TAKEN_TABLES else column)
    assert column not in RESERVED_WORDS
    assert table not in TAKEN_TABLES | RESERVED_WORDS


@given(text=TEXTS)
def test_text_with_an_ascii_letter_or_digit_has_a_name(text: str) -> None:
    if any(letter.isascii() and letter.isalnum() for letter in text):
        assert identifier(text) is not None


@given(text=st.text("aAzZ019_ -."))
def test_ascii_names_keep_every_letter_and_digit_in_order(text: str) -> None:
    expected = "".join(letter.lower() for letter in text if letter.isalnum())
    for divide_numbers in (False, True):
        assert (identifier(text, divide_numbers) or "").replace("_", "") == expected


@pytest.mark.parametrize("divide_numbers", [False, True])
def test_every_character_that_changes_alone_and_in_a_run(divide_numbers: bool) -> None:
    changing = [c for c in map(chr, range(0x110000)) if unicodedata.normalize("NFKC", c).lower() != c]
    assert len(changing) > 5000
    for character in changing:
        for text in (character, f"д{character}", f"{character}д", f"{character}\u0308\u0301"):
            name = column_name(text, divide_numbers)
            assert name is None or column_name(name, divide_numbers) == name, ascii(text)
