"""A folder that is all of a mounted volume: replaced name by name, and gone on with after a crash at any step."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ops_pipelines.engines.parts import _beside, _inside
from ops_pipelines.engines.parts._folders import Note
from ops_pipelines.engines.parts._inside import Inside


class _Killed(BaseException):
    pass


def _staged(live: Path) -> Inside:
    (live / "deep").mkdir(parents=True)
    (live / "deep" / "a").write_text("old")
    (live / "gone").write_text("old")
    place = Inside(live / ".restore-x", live)
    place.begin("digest")
    (place.path / "deep").mkdir()
    (place.path / "deep" / "a").write_text("new")
    (place.path / "come").write_text("new")
    place.write_note(Note("digest", whole=True))
    return place


def _content(folder: Path) -> dict[str, str]:
    return {
        str(one.relative_to(folder)): one.read_text()
        for one in folder.rglob("*")
        if one.is_file() and not str(one.relative_to(folder)).startswith(".")
    }


def test_it_is_replaced_and_the_old_content_kept(tmp_path: Path) -> None:
    place = _staged(tmp_path / "live")
    before = Path(place.finish_switch())
    place.forget()
    assert _content(tmp_path / "live") == {"deep/a": "new", "come": "new"}
    assert _content(before) == {"deep/a": "old", "gone": "old"}
    assert not place.path.exists()


@pytest.mark.parametrize("step", range(1, 5))
def test_a_switch_that_was_killed_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    place = _staged(tmp_path / "live")
    real, left = Path.rename, [step]

    def rename(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise _Killed
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(_Killed):
            place.finish_switch()
    place.remove()  # as the next restore does: it finishes, and deletes nothing
    assert _content(tmp_path / "live") == {"deep/a": "new", "come": "new"}
    assert _content(tmp_path / "live" / ".before-x") == {"deep/a": "old", "gone": "old"}


def test_places_have_their_names_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_beside, "is_top", lambda live: live == tmp_path)
    word = hashlib.sha256(b"x").hexdigest()[:12]
    [place] = _beside.beside([tmp_path], word)
    assert isinstance(place, _inside.Inside)
    assert place.path == tmp_path / f".restore-{word}"
    place.begin("digest")
    assert _beside.leftovers([tmp_path]) == (str(place.path),)
    assert _beside.copy_at([tmp_path], str(place.path)) is None
