"""The models of `sql/`: each says what it reads and makes, is checked against that, and can be run on Spark."""

from pathlib import Path

import pytest
import sqlglot
from sqlglot import ErrorLevel, exp

from loader import contract, models, who
from loader.models import ModelError

SHIPPED = sorted(models.folder().rglob("*.sql"))
# What Spark has no counterpart for; there these are to be written in another way.
DUCKDB_ONLY = {"users": "COLUMNS(…): the columns of identifies differ from warehouse to warehouse"}


def model(folder: Path, stem: str, sql: str, *, reads: str = "", **fields: str) -> Path:
    """A file `stem.sql` of the folder, with a header of which `fields` change a field; "" leaves it out."""
    said = {"name": stem, "reads": reads, "writes": stem, "grain": "one row"} | fields
    header = "".join(f"-- {field}: {value}\n" for field, value in said.items() if value)
    path = folder / f"{stem}.sql"
    path.write_text(f"{header}-- Why it is there.\n{sql}\n")
    return path


def error_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        models.read(path)
    return str(caught.value)


def load_error(folder: Path, *given: str) -> str:
    with pytest.raises(ModelError) as caught:
        models.load(folder, given)
    return str(caught.value)


# --- those that are shipped -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_model_that_is_shipped_can_be_read(path: Path) -> None:
    """A step of the contraction makes what the loop then puts in the place of what was there."""
    found = models.read(path)
    step = path.parent.name == "contract"
    assert found.name == path.stem
    assert step or found.writes.rpartition(".")[2] == path.stem
    assert found.grain.startswith("one row per ")


def test_no_two_models_that_are_shipped_write_one_relation() -> None:
    writes = [models.read(path).writes for path in SHIPPED]
    assert sorted(set(writes)) == sorted(writes)
    assert len(SHIPPED) > 40


def test_the_models_of_who_is_who_make_all_that_they_read() -> None:
    """With what is made between them: nothing undeclared, nothing missing, no circle."""
    files = [*(models.folder() / "identity").glob("*.sql"), models.folder() / "users.sql"]
    ours = [*map(models.read, files), who.COMPONENT, who.TRAIT_ROW, who.TRAIT_LAST]
    order = [found.writes for found in models.ordered(ours, who.GIVEN)]
    assert sorted(order) == sorted(found.writes for found in ours)
    for found in ours:
        for name in found.reads:
            assert name in who.GIVEN or order.index(name) < order.index(found.writes), (found.name, name)


def test_the_steps_of_the_contraction_are_all_there() -> None:
    steps = {path.stem for path in (models.folder() / contract.FOLDER).glob("*.sql")}
    assert steps == {"point", "jump", "follow", "shrink"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_spark_can_be_told_what_a_model_says(path: Path) -> None:
    """COLUMNS is left as it is by the translation, without a word."""
    (spark,) = sqlglot.transpile(path.read_text(), read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
    lacks = sqlglot.parse_one(spark, read="spark").find(exp.Columns) is not None or "COLUMNS(" in spark
    assert lacks == (path.stem in DUCKDB_ONLY)


# --- the header -------------------------------------------------------------------------------------------------------


def test_a_model_is_its_header_and_its_select(tmp_path: Path) -> None:
    path = model(tmp_path, "visits", "SELECT count(*) AS n FROM pages, identity.map", reads="pages, identity.map")
    found = models.read(path)
    assert (found.path, found.name, found.writes, found.view, found.grain) == (
        path,
        "visits",
        "visits",
        False,
        "one row",
    )
    assert found.reads == ("pages", "identity.map")
    assert found.sql == path.read_text()


def test_a_view_says_so(tmp_path: Path) -> None:
    found = models.read(model(tmp_path, "visits", "SELECT 1", writes="identity.visits (view)"))
    assert (found.writes, found.view) == ("identity.visits", True)


@pytest.mark.parametrize("field", ["name", "writes", "grain"])
def test_a_header_lacks_a_field(tmp_path: Path, field: str) -> None:
    path = model(tmp_path, "a", "SELECT 1", **{field: ""})
    assert error_of(path) == f"{path}: its header has no `-- {field}:`. It needs name, reads, writes, grain."


def test_a_model_reads_what_its_header_does_not_say(tmp_path: Path) -> None:
    path = model(tmp_path, "a", "SELECT * FROM pages JOIN screens USING (id)", reads="pages")
    assert error_of(path) == f"{path}: reads screens, and its header doesn't say so. Add it to `-- reads:`."


def test_a_header_says_more_than_a_model_reads(tmp_path: Path) -> None:
    path = model(tmp_path, "a", "SELECT * FROM pages", reads="pages, screens")
    assert error_of(path) == (
        f"{path}: its header reads screens, and its SELECT doesn't. Take that out of `-- reads:`."
    )


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("WITH p AS (SELECT * FROM pages) SELECT * FROM p", {"pages"}),
        ("WITH pages AS (SELECT * FROM pages) SELECT * FROM pages", {"pages"}),
        ("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 9) SELECT * FROM r", set()),
        ("SELECT (SELECT max(id) FROM a) FROM b WHERE EXISTS (FROM c) AND id IN (SELECT id FROM d.e)", {*"abc", "d.e"}),
        ("SELECT * FROM (PIVOT tracks ON event USING count(*))", {"tracks"}),
        ("FROM range(3)", set()),
        ("SELECT * FROM a SEMI JOIN b USING (id); -- and no more", {"a", "b"}),
    ],
)
def test_what_a_select_reads(sql: str, reads: set[str]) -> None:
    assert models.tables(Path("a.sql"), sql) == reads


# --- what is no SELECT ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1; SELECT 2", "holds 2 statements. A model is one SELECT."),
        ("", "holds 0 statements. A model is one SELECT."),
        ("INSERT INTO pages SELECT 1", "holds no SELECT, but INSERT. A model is one SELECT."),
        ("CREATE TABLE a AS SELECT 1", "holds no SELECT, but CREATE. A model is one SELECT."),
    ],
)
def test_a_model_is_one_select(tmp_path: Path, sql: str, error: str) -> None:
    path = model(tmp_path, "a", sql)
    assert error_of(path) == f"{path}: {error}"


def test_what_is_not_sql_is_told_with_its_line(tmp_path: Path) -> None:
    path = model(tmp_path, "a", "SELECT (1\nFROM pages")
    said = error_of(path)
    assert said.startswith(f"{path}:6: is not SQL: Expecting )")
    assert "\n" not in said


def test_a_text_without_end_is_not_sql(tmp_path: Path) -> None:
    path = model(tmp_path, "a", "SELECT 'pages")
    assert error_of(path).startswith(f"{path}: is not SQL: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    assert error_of(path) == f"{path}: cannot read this file: No such file or directory."


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(b"SELECT '\xff'")
    assert error_of(path).startswith(f"{path}: cannot read this file: 'utf-8' codec can't decode byte 0xff")


# --- a folder ---------------------------------------------------------------------------------------------------------


def test_each_model_comes_after_those_that_it_reads(tmp_path: Path) -> None:
    model(tmp_path, "a", "SELECT * FROM b JOIN c USING (id)", reads="b, c")
    model(tmp_path, "b", "SELECT * FROM c", reads="c")
    model(tmp_path, "c", "SELECT * FROM pages", reads="pages")
    found = models.load(tmp_path, {"pages"})
    assert [each.name for each in found] == ["c", "b", "a"]


def test_a_table_that_nothing_makes(tmp_path: Path) -> None:
    path = model(tmp_path, "a", "SELECT * FROM pages", reads="pages")
    assert load_error(tmp_path, "screens") == (
        f"{path}: reads pages, and there is no such table and no model that writes it."
    )


def test_two_models_of_one_name(tmp_path: Path) -> None:
    first = model(tmp_path, "a", "SELECT 1")
    second = model(tmp_path, "b", "SELECT 1", name="a")
    assert load_error(tmp_path) == f"{second}: {first} is called a, too. Rename one of them."


def test_two_models_that_write_one_relation(tmp_path: Path) -> None:
    first = model(tmp_path, "a", "SELECT 1")
    second = model(tmp_path, "b", "SELECT 1", writes="a")
    assert load_error(tmp_path) == f"{second}: {first} is called a, too. Rename one of them."


def test_a_model_that_writes_what_is_there(tmp_path: Path) -> None:
    path = model(tmp_path, "pages", "SELECT 1")
    assert load_error(tmp_path, "pages") == f"{path}: writes pages, which is there without it. Rename it."


def test_models_that_read_each_other(tmp_path: Path) -> None:
    files = [model(tmp_path, "a", "SELECT * FROM b", reads="b"), model(tmp_path, "b", "SELECT * FROM a", reads="a")]
    said = load_error(tmp_path)
    assert all(str(file) in said for file in files)
    assert said.endswith(("read each other in a circle: a → b → a. Break it.", "circle: b → a → b. Break it."))
