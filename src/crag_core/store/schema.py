"""Tables of crag in PostgreSQL. ``docs/reference/database.md`` says what each column shows."""

from __future__ import annotations

from psycopg import sql

from crag_core.store.interface import Generation

VERSION = 1
# Any constant: it only has to be the same in every program that makes the schema.
SCHEMA_LOCK = 0x63726167
HNSW_M = 16
# Twice pgvector's default: on clustered vectors the graph keeps groups that are otherwise lost.
HNSW_EF_CONSTRUCTION = 128
# pgvector indexes halfvec up to this many dimensions.
HNSW_DIMENSIONS = 4000
# Up to here a vector stays in its row's page, which spares a look-up per compared row.
INLINE_DIMENSIONS = 3000

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS crag;
CREATE TABLE IF NOT EXISTS crag.version (version integer NOT NULL);
CREATE TABLE IF NOT EXISTS crag.collections (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    profile text NOT NULL,
    nonce bytea NOT NULL,
    sealed bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS crag.snapshots (
    collection_id integer PRIMARY KEY REFERENCES crag.collections ON DELETE CASCADE,
    body text NOT NULL,
    signature bytea NOT NULL,
    state bytea NOT NULL
);
"""


def rows_table(generation: Generation) -> sql.Identifier:
    """``crag.rows_<collection>_<epoch>``."""
    return sql.Identifier("crag", f"rows_{generation.collection}_{generation.epoch}")


def documents_table(generation: Generation) -> sql.Identifier:
    """``crag.documents_<collection>_<epoch>``."""
    return sql.Identifier("crag", f"documents_{generation.collection}_{generation.epoch}")


def index_name(generation: Generation) -> str:
    """Name of the nearest-neighbour index, in schema crag."""
    return f"rows_{generation.collection}_{generation.epoch}_emb"


def tag_index_name(generation: Generation) -> str:
    """Name of the index of tags, in schema crag."""
    return f"rows_{generation.collection}_{generation.epoch}_tags"


def create_tables(generation: Generation) -> sql.Composed:
    """The two tables of a generation."""
    inline = generation.dimension <= INLINE_DIMENSIONS
    return sql.SQL(
        "CREATE TABLE {rows} ("
        " id uuid PRIMARY KEY, version smallint NOT NULL, epoch integer NOT NULL,"
        " iv bytea NOT NULL, emb halfvec({dimension}), nonce bytea NOT NULL, ct bytea NOT NULL,"
        " tags bytea[] NOT NULL, expires bigint);"
        "ALTER TABLE {rows} ALTER COLUMN emb SET STORAGE {storage};"
        # Ciphertext does not compress.
        "ALTER TABLE {rows} ALTER COLUMN ct SET STORAGE EXTERNAL;"
        "CREATE TABLE {documents} ("
        " id uuid PRIMARY KEY, version smallint NOT NULL, epoch integer NOT NULL,"
        " nonce bytea NOT NULL, ct bytea NOT NULL);"
        "ALTER TABLE {documents} ALTER COLUMN ct SET STORAGE EXTERNAL;"
    ).format(
        rows=rows_table(generation),
        documents=documents_table(generation),
        storage=sql.SQL("PLAIN" if inline else "EXTERNAL"),
        dimension=sql.Literal(generation.dimension),
    )


def indexes(generation: Generation) -> list[tuple[str, sql.Composed]]:
    """Name and statement of each index that a large collection of mode ``database`` has."""
    found = [(tag_index_name(generation), _create_tag_index(generation))]
    if generation.dimension <= HNSW_DIMENSIONS:
        found.append((index_name(generation), create_index(generation)))
    return found


def _create_tag_index(generation: Generation) -> sql.Composed:
    """The GIN index over the tags, for filters that few rows pass."""
    return sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {rows} USING gin (tags)").format(
        index=sql.Identifier(tag_index_name(generation)), rows=rows_table(generation)
    )


def create_index(generation: Generation) -> sql.Composed:
    """The HNSW index over the encrypted vectors, L2 distance."""
    return sql.SQL(
        "CREATE INDEX IF NOT EXISTS {index} ON {rows} USING hnsw (emb halfvec_l2_ops)"
        " WITH (m = {m}, ef_construction = {ef})"
    ).format(
        index=sql.Identifier(index_name(generation)),
        rows=rows_table(generation),
        m=sql.Literal(HNSW_M),
        ef=sql.Literal(HNSW_EF_CONSTRUCTION),
    )
