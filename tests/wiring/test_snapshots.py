"""Backups that fail, marks that stay, servers that rest while their cache is switched."""

# ruff: noqa: ARG002 - fakes take what the Protocol hands them, used or not

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.attempts import read_attempt
from ops_pipelines.engines.deploy import ReplicaStatus
from ops_pipelines.errors import (
    FormatTooNew,
    LeaseHeld,
    OpsError,
    PartFailed,
    SnapshotUnknown,
    StoreError,
    Unreachable,
)
from ops_pipelines.policy.manifest import FileEntry, Part, Question
from ops_pipelines.policy.processes import ProcessStatus
from ops_pipelines.wiring import parts, process_target, restarting, restores, snapshots
from ops_pipelines.wiring.connect import lease
from ops_pipelines.wiring.restarting import Rest, restart_steps
from tests.cli.run import CommandLine
from tests.engines import snapshot_kit
from tests.engines.snapshot_kit import FreeFence
from tests.wiring.stand import Stand


def marks(stand: Stand) -> dict[str, dict[str, Any] | None]:
    """Facts of the mark `failed` of every snapshot that has one."""
    found = snapshots.listed(stand.site)
    read = {one.id: engine.read_mark(stand.store, stand.layout, "chat", one.id, "failed") for one in found}
    return {name: facts for name, facts in read.items() if facts is not None}


# --- backup ---


def test_all_that_a_stack_was_and_how_it_was_filled_in_comes_back_with_its_configuration(
    stand: Stand,
) -> None:
    stand.environ |= {"ZONE": "eu-7", "KEY_OF_ALL": "sk-of-all-the-models"}
    settings = {"model_list": [{"model_name": "chat", "litellm_params": {"model": "ollama/llama3"}}]}
    site = stand.change(
        secrets={**stand.declared["secrets"], "master": "${KEY_OF_ALL}"},
        components={
            "web": stand.web(environment={"ZONE": "${ZONE}"}, secrets={"KEY": "master"}),
            "gateway": {"kind": "litellm", "address": "http://127.0.0.1:9", "settings": settings},
        },
    )
    manifest = snapshots.backup(site, by="test")
    snapshots.restore(site, manifest.snapshot, parts=["configuration/chat"], by="test")
    place = site.state / "configuration" / manifest.snapshot
    found = {
        path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()
    }
    assert found.keys() == {
        "files/stack.yaml", "artifact/declaration.json", "artifact/programs.json", "artifact/gateway.litellm.yaml",
    }  # fmt: skip
    assert found["files/stack.yaml"] == site.loaded.path.read_text()
    assert '"ZONE": "${ZONE}"' in found["files/stack.yaml"]
    live = json.loads(found["artifact/declaration.json"])
    assert live["components"]["web"]["environment"] == {"ZONE": "eu-7"}
    [program] = json.loads(found["artifact/programs.json"])
    assert program["environment"]["ZONE"] == "eu-7"
    assert yaml.safe_load(found["artifact/gateway.litellm.yaml"]) == settings
    assert not [name for name, text in found.items() if "sk-of-all-the-models" in text]


def test_a_bandwidth_is_kept_to_by_all_that_is_sent_and_read(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []

    def take(self: Rate, size: int) -> None:
        assert self._limit == 10 << 20
        passed.append(size)

    data = stand.folder / "data"
    data.mkdir()
    (data / "large").write_bytes(os.urandom(9 << 20))
    volume = {"data": {"path": str(data)}}
    site = stand.change(
        backup={**stand.declared["backup"], "transfer": {"bandwidth": "10Mi"}}, volumes=volume
    )
    monkeypatch.setattr(Rate, "take", take)
    manifest = snapshots.backup(site, by="test")
    assert sum(passed) >= manifest.uploaded > 9 << 20
    passed.clear()
    (data / "large").unlink()
    snapshots.restore(site, manifest.snapshot, parts=["volume/data"], by="test")
    assert sum(passed) >= 9 << 20


def test_the_command_line_asks_for_a_full_backup(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(monkeypatch, capsys, stand.folder)
    part = snapshots.backup(stand.site, by="test").part("configuration/chat")
    assert part is not None
    entry = max(part.files, key=lambda entry: entry.size)
    stand.store.put(stand.layout.blob(entry.sha256), b"x" * entry.size)
    full = command("backup", "chat", "--full", environ=stand.environ)
    assert (full.code, entry.sha256 in full.err, len(snapshots.listed(stand.site))) == (1, True, 1)
    plain = command("backup", "chat", environ=stand.environ)
    assert (plain.code, len(snapshots.listed(stand.site))) == (1, 2), "it is verified once it is there"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PartFailed("the disk died\nat 3", remedy=""), "the disk died"),
        (PartFailed("", remedy=""), ""),
        (ZeroDivisionError("secret words"), "ZeroDivisionError"),
    ],
)
def test_a_failed_backup_leaves_word_and_its_own_error_told(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fails(site: object) -> None:
        raise error

    monkeypatch.setattr(parts, "sources", fails)
    with pytest.raises(type(error)) as raised:
        snapshots.backup(stand.site, by="test")
    assert raised.value is error
    assert snapshots.listed(stand.site) == ()
    attempt = read_attempt(stand.store, stand.layout, "chat")
    assert attempt is not None
    assert attempt.error == (told or "it did not say why")
    assert told in snapshots.last_attempt(stand.site, ())


def test_a_backup_that_succeeds_answers_one_that_failed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as change:
        change.setattr(parts, "sources", lambda site: [])
        with pytest.raises(PartFailed):
            snapshots.backup(stand.site, by="test")
    assert "the last backup failed" in snapshots.last_attempt(stand.site, snapshots.listed(stand.site))
    snapshots.backup(stand.site, by="test")
    assert snapshots.last_attempt(stand.site, snapshots.listed(stand.site)) == ""


def test_a_backup_that_fails_lets_nothing_go_until_one_succeeds(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (snapshot_kit.commit(stand.store, days_ago=days) for days in (40, 1))
    for one in (old, new):
        engine.mark(stand.store, stand.layout, "chat", one, "verified", {})
    backup = {**stand.declared["backup"], "keep": {"last": 1}}
    site = stand.change(backup=backup)
    assert [step.subject for step in snapshots.plan_prune(site).changes] == [f"snapshot/{old}"]
    with monkeypatch.context() as change:
        change.setattr(parts, "sources", lambda site: [])
        with pytest.raises(PartFailed):
            snapshots.backup(site, by="test")
    assert snapshots.prune(site, by="test").empty
    taken = snapshots.backup(site, by="test")
    snapshots.verify(site, taken.snapshot, depth="sizes")
    assert [one.id for one in snapshots.listed(site)] == [taken.snapshot, new, old]
    assert [step.subject for step in snapshots.prune(site, by="test").changes] == [f"snapshot/{old}"]


def test_a_pinned_one_stays_until_it_is_unpinned(stand: Stand) -> None:
    old, new = (snapshot_kit.commit(stand.store, days_ago=days) for days in (40, 1))
    engine.mark(stand.store, stand.layout, "chat", new, "verified", {})
    site = stand.change(backup={**stand.declared["backup"], "keep": {"last": 1}})
    snapshots.pin(site, old, reason="before the move", by="test")
    assert snapshots.prune(site, by="test").empty
    listed = {one.id: snapshots.state_in_words(one) for one in snapshots.listed(site)}
    assert listed == {old: "not verified, pinned (before the move)", new: "verified"}
    assert snapshots.unpin(site, old)
    assert not snapshots.unpin(site, old)
    assert [step.subject for step in snapshots.prune(site, by="test").changes] == [f"snapshot/{old}"]
    for act in (lambda: snapshots.pin(site, old, by="test"), lambda: snapshots.unpin(site, old)):
        with pytest.raises(SnapshotUnknown, match=old):
            act()


def test_nothing_is_pinned_while_somebody_prunes(stand: Stand) -> None:
    old = snapshot_kit.commit(stand.store)
    with lease(stand.site, "prune"), pytest.raises(LeaseHeld):
        snapshots.pin(stand.site, old, by="test")


def test_that_it_could_not_be_noted_hides_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*words: object, **more: object) -> None:
        raise PartFailed("the disk died", remedy="")

    put = S3Store.put

    def worse(store: S3Store, key: str, body: bytes, **more: Any) -> str:
        if b"the disk died" in body:
            raise ValueError("and the store too")
        return put(store, key, body, **more)

    monkeypatch.setattr(parts, "sources", fails)
    monkeypatch.setattr(S3Store, "put", worse)
    with pytest.raises(PartFailed, match="the disk died"):
        snapshots.backup(stand.site, by="test")


def test_a_backup_that_had_to_wait_is_no_failed_one(stand: Stand) -> None:
    site = stand.site
    with lease(site, "a deploy"), pytest.raises(LeaseHeld):
        snapshots.backup(site, by="test")
    assert read_attempt(stand.store, stand.layout, "chat") is None


def test_a_damaged_revision_stops_no_backup(stand: Stand) -> None:
    stand.store.put(stand.layout.revision("chat", 1), b"{")
    taken = snapshots.backup(stand.site, by="test")
    assert taken.revision is None
    assert all(finding.ok for finding in snapshots.verify(stand.site, taken.snapshot, depth="checksums"))


def test_a_bucket_that_is_not_there_is_said_so(stand: Stand) -> None:
    backup = {**stand.declared["backup"], "bucket": "no-such-bucket-here"}
    with pytest.raises(StoreError, match="no-such-bucket-here") as error:
        snapshots.backup(stand.change(backup=backup), by="test")
    assert not isinstance(error.value, LeaseHeld)
    assert error.value.remedy


def _with_collection(stand: Stand) -> None:
    fields = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector"}}
    model = {"source": "hosted:x/y", "role": "embedding", "served_by": "web", "dimension": 2}
    stand.change(
        components={"web": stand.web(), "milvus": {"kind": "milvus", "address": "http://127.0.0.1:9"}},
        models={"m": model},
        collections={
            "docs": {"store": "milvus", "embedding": "m", "fields": fields},
            "plain": {"store": "milvus", "fields": {**fields, "vector": {"type": "float_vector", "dimension": 2}}},
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "kept", "expected"),
    [(5, (), ["questions/docs"]), (0, (), []), (5, (("docs", "m", "?", (1,)),), [])],
)
def test_questions_that_were_not_kept_are_told(
    stand: Stand, rows: int, kept: tuple[Any, ...], expected: list[str]
) -> None:
    _with_collection(stand)
    taken = snapshots.load(stand.site, snapshot_kit.commit(stand.store))
    held = tuple(Part("collection", name, (), {"rows": rows}) for name in ("docs", "plain"))
    changed = type(taken)(
        **{**taken.__dict__, "parts": held, "questions": tuple(Question(*one) for one in kept)}
    )
    findings = snapshots.kept_findings(stand.site, changed)
    assert [finding.subject for finding in findings] == expected
    assert all((one.ok, one.severity) == (None, "warning") for one in findings)


# --- marks ---


@pytest.mark.parametrize(
    ("failed", "depth", "stays"),
    [
        ({"by": "drill", "verdict": "failed"}, "checksums", True),
        ({"verdict": "failed"}, "checksums", True),
        ({"by": "verify", "depth": "checksums"}, "sizes", True),
        ({"by": "verify", "depth": "checksums"}, "checksums", False),
        ({"by": "verify", "depth": "sizes"}, "sizes", False),
        ({"by": "verify", "depth": "sizes"}, "checksums", False),
        ({"depth": "listed"}, "sizes", False),
        (None, "sizes", False),
    ],
)
def test_only_a_look_as_close_takes_a_failure_back(
    stand: Stand, failed: Mapping[str, Any] | None, depth: Any, stays: bool
) -> None:
    """Drill at three, verify at five, prune at half past: what the drill found must last until then."""
    snapshot = snapshot_kit.commit(stand.store)
    if failed is not None:
        engine.mark(stand.store, stand.layout, "chat", snapshot, "failed", {"at": "then", **failed})
    findings = snapshots.verify(stand.site, snapshot, depth=depth)
    assert all(finding.ok for finding in findings)
    [info] = snapshots.listed(stand.site)
    assert info.bad is stays
    assert ("verified" in info.marks) is not stays
    assert any("stays marked as failed" in finding.message for finding in findings) is stays


def test_a_fault_is_marked_and_a_store_that_is_gone_is_not(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_kit.commit(stand.store)
    [blob] = [info.key for info in stand.store.list(stand.layout.blobs)]
    with monkeypatch.context() as patch:

        def gone(self: S3Store, key: str) -> None:
            raise Unreachable("gone", remedy="")

        patch.setattr(S3Store, "head", gone)
        assert [one.ok for one in snapshots.verify(stand.site, snapshot, depth="sizes")] == [None]
    assert marks(stand) == {}
    stand.store.delete([blob])
    snapshots.verify(stand.site, snapshot, depth="sizes")
    assert marks(stand)[snapshot]["by"] == "verify"  # type: ignore[index]


def test_what_was_pruned_is_said_when_the_sweep_fails(stand: Stand) -> None:
    snapshot_kit.commit(stand.store, days_ago=90, suffix="aaaaaa")
    for days in (0.1, 0.2, 0.3):
        newest = snapshot_kit.commit(stand.store, days_ago=days, suffix="bbbbbb")
        engine.mark(stand.store, stand.layout, "chat", newest, "verified", {})
    other = snapshot_kit.commit(stand.store, stack="other", suffix="cccccc")
    stand.store.put(stand.layout.manifest("other", other), b'{"format": 99}')
    assert "format 99" in snapshots.plan_prune(stand.site).warnings[-1]
    stand.store.put("ops/blobs/sha256/ab/" + "ab" * 32, b"nobody names it")
    with pytest.raises(FormatTooNew, match="1 snapshots of chat were removed, their blobs were not"):
        snapshots.prune(stand.site, by="test")


# --- restore: the order in which a destroyed stack comes back ---


def test_files_come_back_while_the_servers_of_other_parts_are_gone(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stand.folder / "data"
    data.mkdir()
    (data / "note").write_text("kept")
    site = stand.change(volumes={"data": {"path": str(data)}})
    taken = snapshots.backup(site, by="test")
    rows = Part("collection", "docs", ())
    fields = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 2}}
    site = stand.change(
        components={
            **stand.declared["components"],
            "vectors": {"kind": "milvus", "address": "http://127.0.0.1:9"},
        },
        collections={"docs": {"store": "vectors", "fields": fields}},
    )

    def gone(address: str, *_: object) -> None:
        raise Unreachable(f"Milvus at {address} does not answer", remedy="check that the server runs")

    monkeypatch.setattr(MilvusStore, "connect", gone)  # it tries for ten seconds
    whole = replace(taken, parts=(*taken.parts, rows))
    monkeypatch.setattr(restores, "load", lambda *_: whole)
    (data / "note").unlink()
    with pytest.raises(Unreachable, match=r"Milvus at .*; nothing of chat runs") as found:
        snapshots.plan_restore(site, taken.snapshot)
    assert (
        found.value.remedy
        == "restore its files first (parts volume/data), then deploy it, then restore everything"
    )
    snapshots.plan_restore(site, taken.snapshot, parts=["volume/data"])
    snapshots.restore(site, taken.snapshot, parts=["volume/data"], by="test")
    assert (data / "note").read_text() == "kept"
    with pytest.raises(Unreachable, match="Milvus at"):
        snapshots.restore(site, taken.snapshot, parts=["collection/docs"], by="test")


# --- restore: servers rest while their cache is switched ---


@dataclass
class Programs:
    """A supervisor that notes what it is asked; `refuses` are programs that cannot be started."""

    states: dict[str, str]
    calls: list[str]
    refuses: set[str] = field(default_factory=set)
    up: bool = True
    ill: dict[str, int] = field(default_factory=dict)
    """For how many looks a program is not well."""

    def seen(self) -> tuple[ReplicaStatus, ...]:
        rows = []
        for name in self.states:
            self.ill[name] = self.ill.get(name, 0) - 1
            rows.append(ReplicaStatus("web", name, "running", None if self.ill[name] >= 0 else True))
        return tuple(rows)

    def running(self) -> bool:
        return self.up

    def status(self) -> dict[str, ProcessStatus]:
        return {name: ProcessStatus(name, state, None, None) for name, state in self.states.items()}  # type: ignore[arg-type]

    def stop(self, name: str) -> None:
        self.calls.append(f"stop {name}")
        self.states[name] = "stopped"

    def start(self, name: str) -> None:
        if name in self.refuses:
            raise OpsError("it does not start", remedy="")
        self.calls.append(f"start {name}")
        self.states[name] = "running"


@dataclass
class Cache:
    """A target that notes its switch; with `error` the switch fails, with `killed` the process dies in it."""

    calls: list[str]
    error: BaseException | None = None
    kind: str = "model_cache"
    name: str = "models"

    def switch(self, part: Part, place: str) -> str:
        self.calls.append("switch")
        if self.error is not None:
            raise self.error
        return "kept"


PART = Part("model_cache", "models", (FileEntry("a", 0, "0" * 64),))


@pytest.fixture
def programs(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Programs:
    stand.change(
        components={"web": stand.web(), "far": {"kind": "ollama", "address": "http://127.0.0.1:9"}},
        caches={"models": {"layout": "directory", "path": str(stand.folder / "models")}},
        models={
            "a": {"source": "hf:x/y@z", "cache": "models", "served_by": "web"},
            "b": {"source": "hf:x/z@z", "cache": "models", "served_by": "far"},
        },
    )
    states = {
        "chat.web.0": "running", "chat.web.1": "starting", "chat.web.2": "stopped", "chat.other.0": "running",
        "chat--drill.web.0": "running", "chatty.web.0": "running",
    }  # fmt: skip
    made = Programs(states, [])
    monkeypatch.setattr(process_target, "supervisor", lambda settings: made)
    monkeypatch.setattr(process_target, "status", lambda site: made.seen())
    return made


ORDER = ["stop chat.web.0", "stop chat.web.1", "switch", "start chat.web.0", "start chat.web.1"]


def switch(rest: Rest, programs: Programs, error: BaseException | None = None) -> str:
    [target] = rest.wrap({"x": Cache(programs.calls, error)}).values()  # type: ignore[dict-item]
    return target.switch(PART, "place")


def test_servers_are_stopped_before_the_switch_and_started_after(stand: Stand, programs: Programs) -> None:
    rest = Rest(stand.site, FreeFence())
    assert switch(rest, programs) == "kept"
    assert programs.calls == ORDER
    assert rest.findings == []
    assert not (stand.site.state / "at-rest.json").exists()


@pytest.mark.parametrize("error", [PartFailed("no", remedy=""), OSError("no"), KeyboardInterrupt()])
def test_a_switch_that_fails_leaves_them_running(
    stand: Stand, programs: Programs, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        switch(Rest(stand.site, FreeFence()), programs, error)
    assert raised.value is error
    assert programs.calls == ORDER


def test_a_lease_that_is_lost_stops_no_further_and_switches_nothing(stand: Stand, programs: Programs) -> None:
    with pytest.raises(OpsError, match="lost"):
        switch(Rest(stand.site, FreeFence(lost_at=2)), programs)
    assert programs.calls == ["stop chat.web.0", "start chat.web.0", "start chat.web.1"]


def test_a_restore_that_was_killed_is_not_their_end(stand: Stand, programs: Programs) -> None:
    """SIGKILL between stop and start: the next restore starts what the first one stopped."""
    Rest(stand.site, FreeFence()).begin("model_cache/models")
    assert programs.states["chat.web.0"] == "stopped"
    programs.calls.clear()
    switch(Rest(stand.site, FreeFence()), programs)
    assert programs.calls == ["switch", "start chat.web.0", "start chat.web.1"]


def test_one_that_does_not_start_again_is_told_and_keeps_none_other_down(
    stand: Stand, programs: Programs
) -> None:
    programs.refuses = {"chat.web.0"}
    rest = Rest(stand.site, FreeFence())
    assert switch(rest, programs) == "kept"
    assert programs.states["chat.web.1"] == "running"
    [finding] = rest.findings
    assert (finding.subject, finding.ok) == ("process/chat.web.0", False)
    assert json.loads((stand.site.state / "at-rest.json").read_text()) == ["chat.web.0"]
    programs.refuses = set()
    rest.end()
    assert programs.states["chat.web.0"] == "running"


@pytest.mark.parametrize(("looks", "well"), [(0, True), (1, True), (99, False)])
def test_those_that_were_started_are_waited_for(
    stand: Stand, programs: Programs, monkeypatch: pytest.MonkeyPatch, looks: int, well: bool
) -> None:
    monkeypatch.setattr(restarting, "_POLL", 0.01)
    web = {**stand.web(), "health": {"within": "0.2s"}}
    stand.change(components={**stand.declared["components"], "web": web})
    rest = Rest(stand.site, FreeFence())
    switch(rest, programs)
    programs.ill = {"chat.web.1": looks, "chat.web.2": 99}  # the second was not running before
    rest.settle()
    told = [(one.subject, one.ok) for one in rest.findings]
    assert told == ([] if well else [("process/chat.web.1", False)])


def test_a_stack_at_rest_stays_so(stand: Stand, programs: Programs) -> None:
    programs.up = False
    switch(Rest(stand.site, FreeFence()), programs)
    assert programs.calls == ["switch"]


def test_the_plan_says_who_rests(stand: Stand, programs: Programs) -> None:
    steps = restart_steps(stand.site, ["model_cache/models"])
    assert [(step.verb, step.subject) for step in steps] == [
        ("restart", "component/web"),
        ("check", "component/far"),
    ]
    assert "start it anew there" in steps[1].detail


def test_a_real_cache_is_restored_and_its_findings_told(
    stand: Stand, programs: Programs, tmp_path: Path
) -> None:
    model = stand.folder / "models" / "x--y"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    taken = snapshots.backup(stand.site, by="test")
    (model / "model.safetensors").write_bytes(b"rot")
    assert any(step.verb == "restart" for step in snapshots.plan_restore(stand.site, taken.snapshot).steps)
    programs.calls.clear()
    programs.refuses = {"chat.web.1"}
    result = snapshots.restore(stand.site, taken.snapshot, parts=["model_cache/models"], by="test")
    assert (model / "model.safetensors").read_bytes() == b"weights"
    assert programs.calls == ["stop chat.web.0", "stop chat.web.1", "start chat.web.0"]
    assert [one.subject for one in result.parts[0].findings if one.ok is False] == ["process/chat.web.1"]
