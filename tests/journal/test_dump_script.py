"""What is read from the SQL of a dump: the parts of Postern's tables, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.errors import DatabaseFault
from postern.journal.database.dump_script import Encoding, Index, Key, Piece, Rows, Table, foreign, pieces
from postern.journal.database.postgres_dumps import statement_of
from tests.table import table

SCRIPT = rb"""--
-- PostgreSQL database dump
--

\restrict abc

SET client_encoding = 'UTF8';
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.steps (
    run_id text NOT NULL,
    number integer NOT NULL,
    name character varying(32)
);

COPY public.steps (run_id, number) FROM stdin;
DROP TABLE runs;	1
\\.	2
\.

ALTER TABLE ONLY public.steps
    ADD CONSTRAINT steps_key PRIMARY KEY (run_id, number);

CREATE INDEX runs_by_state ON public.runs USING btree (state, id) WHERE (state <> 'Succeeded'::text);

\unrestrict abc
"""

PARTS: list[Piece | bytes] = [
    Encoding("UTF8"),
    Table(
        "public",
        "steps",
        (("run_id", "text", False), ("number", "integer", False), ("name", "character varying(32)", True)),
    ),
    Rows("public", "steps", ("run_id", "number")),
    b"DROP TABLE runs;\t1\n",
    b"\\\\.\t2\n",
    Key("public", "steps", "steps_key", ("run_id", "number")),
    Index("public", "runs", "runs_by_state", ("state", "id"), "state <> 'Succeeded'"),
]


def test_a_dump_of_postern_is_read_into_its_parts():
    """Rows stay rows, whatever they look like."""
    assert list(pieces(SCRIPT.splitlines(keepends=True))) == PARTS
    assert foreign([part for part in PARTS if not isinstance(part, bytes)], newer=False) == []


@pytest.mark.parametrize("schema", ["MyApp", "my-app", "my app"])
def test_a_schema_may_have_a_name_that_is_quoted(schema: str):
    """Its name is quoted again in what is executed."""
    script = SCRIPT.replace(b"public.", f'"{schema}".'.encode())
    found = list(pieces(script.splitlines(keepends=True)))
    assert {each.schema for each in found if isinstance(each, Table | Key | Index | Rows)} == {schema}
    made = [statement_of(each) for each in found if not isinstance(each, bytes | Encoding)]
    assert all(f'"{schema}"."' in each for each in made)


@pytest.mark.parametrize("schema", [b'"a"".b"', b'"a; DROP TABLE b"', b'"a\'"', b'"a(b)"'])
def test_a_schema_with_other_characters_is_refused(schema: bytes):
    with pytest.raises(DatabaseFault):
        list(pieces(SCRIPT.replace(b"public", schema).splitlines(keepends=True)))


@table(
    "statement",
    [
        "CREATE TABLE public.runs (id text); DROP TABLE x;",
        "CREATE TABLE public.runs (id text DEFAULT now());",
        "CREATE TABLE public.runs (id text) INHERITS (public.other);",
        "CREATE UNLOGGED TABLE public.runs (id text);",
        'CREATE TABLE public."runs;" (id text);',
        "CREATE TABLE public.runs (id public.own);",
        "COPY public.runs (id) FROM PROGRAM 'id';",
        "COPY public.runs (id) FROM '/etc/passwd';",
        "COPY public.runs FROM stdin;",
        "COPY public.runs (id) FROM stdin WHERE pg_sleep(9) IS NULL;",
        "CREATE UNIQUE INDEX x ON public.runs USING btree (id);",
        "CREATE INDEX x ON public.runs USING gin (id);",
        "SET client_encoding = 'UTF8'; DROP TABLE x;",
        "SET search_path = (SELECT 1);",
        "SELECT pg_catalog.set_config('search_path', 'evil', false);",
        "SELECT pg_catalog.lo_create('1');",
        "ALTER TABLE public.runs ENABLE TRIGGER evil;",
        "DO $$ BEGIN END $$;",
        "GRANT ALL ON public.runs TO public;",
        "\\! id;",
        "DROP TABLE x",
    ],
)
def test_any_other_statement_is_refused_by_name(statement: str):
    with pytest.raises(DatabaseFault, match=r"Postern's tables|unfinished"):
        list(pieces([statement.encode() + b"\n"]))


def test_a_statement_has_a_greatest_length():
    """It is refused before all of it is read."""
    with pytest.raises(DatabaseFault, match="more than"):
        list(pieces(b"x" * 1000 for _ in range(200)))


def test_rows_go_only_to_tables_of_the_dump():
    """Else they would go to a table that is there already, of whatever program."""
    assert foreign([Rows("public", "runs", ("id",))], newer=True) == ["rows of runs"]


@given(st.lists(st.sampled_from([*SCRIPT.splitlines(keepends=True), b"x", b";\n", b"\\.\n", b"'"]) | st.binary()))
def test_any_lines_are_parts_or_a_fault(lines: list[bytes]):
    """No text of the dump gets further than its names, types and rows."""
    try:
        for piece in pieces(lines):
            assert isinstance(piece, bytes | Encoding | Table | Key | Index | Rows)
    except DatabaseFault as fault:
        assert len(str(fault)) < 300
