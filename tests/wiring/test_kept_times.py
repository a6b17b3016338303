"""When something was replaced is told for servers too, by what the restore said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ops_pipelines.engines.parts.kept import KeptPlace
from ops_pipelines.engines.restore import Restored, RestoreResult
from ops_pipelines.wiring.kept_times import dated, remember

FIRST, LATER = datetime(2026, 11, 21, 2, tzinfo=UTC), datetime(2026, 11, 22, 2, tzinfo=UTC)


def done(part: str, kept: str, *, switched: bool = True) -> RestoreResult:
    return RestoreResult("s", (Restored(part, "p", kept, ()),), (), switched=switched, resumed=False)


def test_each_kind_is_known_by_what_its_switch_says(tmp_path: Path) -> None:
    remember(tmp_path, done("collection/docs", "docs__1"), FIRST)
    remember(tmp_path, done("database/cache", "logical database 1, 12 of Redis at h:1"), FIRST)
    remember(tmp_path, done("database/cache", "logical database 12 of Redis at h:1"), LATER)
    remember(tmp_path, done("collection/docs", "docs__2", switched=False), FIRST)
    asked = {
        ("collection/docs", "docs__1"): FIRST,
        ("collection/docs", "docs__2"): None,
        ("collection/others", "docs__1"): None,
        ("database/cache", "cache__before_x@1"): FIRST,
        ("database/cache", "cache__before_x@12"): LATER,
        ("database/cache", "cache__before_x@2"): None,
    }
    found = dated(tmp_path, tuple(KeptPlace(part, name) for part, name in asked))
    assert [one.made for one in found] == list(asked.values())


def test_what_a_place_tells_itself_counts_and_rubbish_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text('{"no": "list"}')
    places = (KeptPlace("volume/a", "/a.before-1", made=FIRST), KeptPlace("database/b", "b__before_1"))
    assert [one.made for one in dated(tmp_path, places)] == [FIRST, None]
