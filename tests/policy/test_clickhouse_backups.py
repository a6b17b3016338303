"""What a ClickHouse backup holds, read from its files: counts, engines, and what is not whole."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ops_pipelines.adapters._clickhouse_sql import identifier, literal, repointed
from ops_pipelines.policy.clickhouse_backups import (
    BackupState,
    TableState,
    differences,
    read_backup,
    state_from_facts,
)

FILES = {
    ".backup": "<config/>",
    "metadata/db.sql": "CREATE DATABASE db UUID 'x' ENGINE = Atomic",
    "metadata/db/t.sql": "CREATE TABLE db.t UUID 'x' (`id` UInt64) ENGINE = MergeTree ORDER BY id",
    "data/db/t/all_1_1_0/count.txt": "1000",
    "data/db/t/all_2_2_0/count.txt": "7",
    "data/db/t/all_2_2_0/by_id.proj/count.txt": "99",
    "metadata/db/odd%20%2E.sql": "CREATE TABLE db.`odd .` (`id` UInt64) ENGINE = Log",
    "data/db/odd%20%2E/count.txt": "5",
    "metadata/db/last.sql": "CREATE TABLE db.last (`id` UInt64) ENGINE = ReplacingMergeTree ORDER BY id",
    "metadata/db/short.sql": "CREATE TABLE db.short (`d` Date) ENGINE = MergeTree ORDER BY d TTL d + toIntervalDay(1)",
    "metadata/db/changing.sql": "CREATE TABLE db.changing (`d` Date) ENGINE = MergeTree ORDER BY d",
    "data/db/changing/mutations/0000000001.txt": "DELETE WHERE 1",
    "metadata/db/mv.sql": "CREATE MATERIALIZED VIEW db.mv TO db.last (`id` UInt64) AS SELECT id FROM db.t",
    "metadata/db/own.sql": "CREATE MATERIALIZED VIEW db.own TO INNER UUID 'y' (`id` UInt64) ENGINE = MergeTree AS SELECT 1",
    "metadata/db/v.sql": "CREATE VIEW db.v (`id` UInt64) AS SELECT * FROM db.t",
    "metadata/db/d.sql": "CREATE DICTIONARY db.d (`id` UInt64) PRIMARY KEY id SOURCE(NULL()) LAYOUT(FLAT())",
    "metadata/db/mem.sql": "CREATE TABLE db.mem (`id` UInt64) ENGINE = Memory",
    "metadata/other/t.sql": "CREATE TABLE other.t (`id` UInt64) ENGINE = Log",
}


def read(files: Mapping[str, str]) -> BackupState:
    return read_backup(files, files.__getitem__, database="db", server="26.1")


def test_counts_are_those_of_the_files() -> None:
    state = read(FILES)
    assert state.tables == {
        "t": TableState("MergeTree", 1007),
        "odd .": TableState("Log", 5),
        "last": TableState("ReplacingMergeTree", 0, steady=False),
        "short": TableState("MergeTree", 0, steady=False),
        "changing": TableState("MergeTree", 0, steady=False),
        "mv": TableState("MaterializedView", None),
        "own": TableState("MaterializedView", 0),
        "v": TableState("View", None),
        "d": TableState("Dictionary", None),
        "mem": TableState("Memory", None, steady=False),
    }
    assert state.rows == 1012
    assert state_from_facts(state.to_facts()) == state


@pytest.mark.parametrize(
    ("without", "words"),
    [(".backup", "not finished"), ("metadata/db/t.sql", "the table t has rows and no definition")],
)
def test_what_is_not_whole_is_refused(without: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read({path: content for path, content in FILES.items() if path != without})


def test_a_count_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        read({**FILES, "data/db/t/all_1_1_0/count.txt": "many"})


WANTED = BackupState("26", {"t": TableState("MergeTree", 10), "r": TableState("ReplacingMergeTree", 10, steady=False),
                            "v": TableState("View", None)})  # fmt: skip
SAME = {"t": 10, "r": 10, "v": None}


@pytest.mark.parametrize(
    ("change", "fresh", "found"),
    [
        ({}, True, []), ({"r": 9}, False, []), ({"v": 3}, True, []),
        ({"r": 9}, True, ["r"]), ({"r": 11}, False, ["r"]), ({"r": 0}, False, ["r"]), ({"t": 9}, False, ["t"]),
        ({"t": 11}, False, ["t"]), ({"t": None}, False, ["t"]), ({"new": 1}, False, ["new"]),
    ],
)  # fmt: skip
def test_what_counts_as_the_same(change: dict[str, int | None], fresh: bool, found: list[str]) -> None:
    assert [table for table, _ in differences(WANTED, {**SAME, **change}, fresh=fresh)] == found


def test_a_table_that_is_missing() -> None:
    assert differences(WANTED, {"t": 10, "r": 10}, fresh=False) == (("v", "is missing"),)


@pytest.mark.parametrize(
    "facts", [{}, {"engine": "redis"}, {"engine": "clickhouse", "server": "1", "tables": {"t": {}}}]
)
def test_facts_that_are_no_backup_s(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="facts are not"):
        state_from_facts(facts)


def test_names_and_texts_are_quoted() -> None:
    assert identifier("a`b\\") == "`a\\`b\\\\`"
    assert literal("a'b\\") == "'a\\'b\\\\'"


PLACE = "db__restore_look-1"


@pytest.mark.parametrize(
    ("view", "statements"),
    [
        ({"engine": "View", "sql": f"CREATE VIEW `{PLACE}`.v (`x` UInt8) AS SELECT * FROM `{PLACE}`.t", "inner": "", "query": ""},
         ["CREATE OR REPLACE VIEW `db`.v (`x` UInt8) AS SELECT * FROM `db`.t"]),
        ({"engine": "MaterializedView", "sql": "CREATE MATERIALIZED VIEW db__restore_a.v TO db__restore_a.n AS SELECT 1",
          "inner": "", "query": ""},
         ["DROP VIEW IF EXISTS `db`.`v` SYNC", "CREATE MATERIALIZED VIEW `db`.v TO `db`.n AS SELECT 1"]),
        ({"engine": "MaterializedView", "sql": "…", "inner": ".inner.v", "query": "SELECT 1 FROM db__restore_a.t"},
         ["ALTER TABLE `db`.`v` MODIFY QUERY SELECT 1 FROM `db`.t"]),
        ({"engine": "Dictionary", "sql": "CREATE DICTIONARY db__restore_a.v SOURCE(CLICKHOUSE(DB 'db__restore_a' TABLE 't'))",
          "inner": "", "query": ""},
         ["CREATE OR REPLACE DICTIONARY `db`.v SOURCE(CLICKHOUSE(DB 'db' TABLE 't'))"]),
    ],
)  # fmt: skip
def test_views_follow(view: dict[str, str], statements: list[str]) -> None:
    old = PLACE if PLACE in view["sql"] else "db__restore_a"
    assert repointed({**view, "name": "v"}, old, "db") == statements
