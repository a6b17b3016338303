"""The whole life of a stack by the command line, without Dagster: the day Dagster itself is down.

The tests of this module follow one another on one stack, as a person would go on.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.wiring import data, deployments, scaling
from ops_pipelines.wiring.connect import caches, embedder, endpoint, now, served_name, vector_store
from tests.integration.conftest import Stand
from tests.waiting import until


def answer(stand: Stand, text: str) -> list[str]:
    """Sources of the rows nearest to a text, asked of the live stack."""
    site = stand.site
    vector = embedder(site, "text-embedding").embed(served_name(site, "text-embedding"), [text])[0]
    store = vector_store(site, "obelisk_docs")
    [near] = store.search("obelisk_docs", [vector], field="vector", limit=3)
    return [str(row["source"]) for row in store.get("obelisk_docs", [key for key, _ in near])]


def test_1_plan_says_what_is_missing(stand: Stand) -> None:
    planned = stand.run("plan", "obelisk")
    assert "start" in planned.stdout
    assert "obelisk.model-server.0" in planned.stdout
    assert "missing" in planned.stdout
    assert deployments.replicas(stand.site, "model-server") == 0


def test_2_deploy_brings_model_service_and_collection(stand: Stand) -> None:
    done = stand.cli("deploy", "obelisk")
    assert done["revision"] == 1
    [collection] = done["collections"]
    assert collection["rows"] == len(list(stand.corpus.glob("*.md")))
    assert answer(stand, "bake a loaf")[0] == "cooking.md"
    rows = stand.cli("status", "obelisk")["replicas"]
    assert {row["component"] for row in rows} == {"model-server", "milvus", "gpu-exporter"}
    assert {row["answers"] for row in rows} == {"yes"}


def test_3_a_second_deploy_changes_nothing(stand: Stand) -> None:
    before = [row["pid"] for row in stand.cli("status", "obelisk")["replicas"]]
    done = stand.cli("deploy", "obelisk")
    assert not done["recorded"]
    assert [row["pid"] for row in stand.cli("status", "obelisk")["replicas"]] == before


def test_4_backup_verify_list(stand: Stand) -> None:
    taken = stand.cli("backup", "obelisk")
    assert taken["verified"]
    assert {part["part"] for part in taken["parts"]} == {
        "model_cache/models",
        "collection/obelisk_docs",
        "configuration/obelisk",
    }
    assert taken["questions"] == len(stand.site.stack.drill.questions)
    assert stand.cli("verify", "obelisk", taken["snapshot"])["good"]
    again = stand.cli("backup", "obelisk")
    assert again["uploaded"] < taken["uploaded"] / 100, "an unchanged stack stores next to nothing"
    listed = stand.cli("snapshots", "obelisk")
    assert [one["id"] for one in listed] == [again["snapshot"], taken["snapshot"]]
    assert "verified" in listed[0]["marks"]


def test_5_drill_proves_the_newest(stand: Stand) -> None:
    before = vector_store(stand.site, "obelisk_docs").collections()
    report = stand.cli("drill", "obelisk", "--full")
    assert report["verdict"] == "passed", report
    assert report["recall"] == 1.0
    assert "drilled" in stand.cli("snapshots", "obelisk")[0]["marks"]
    assert vector_store(stand.site, "obelisk_docs").collections() == before
    assert not (stand.site.state / "drill").exists()
    assert not [name for name in deployments.supervisor(stand.site.settings).status() if "--" in name]


def test_6_restore_after_a_loss(stand: Stand) -> None:
    site = stand.site
    snapshot = stand.cli("snapshots", "obelisk")[0]["id"]
    right = answer(stand, "bake a loaf")
    store = vector_store(site, "obelisk_docs")
    store.delete("obelisk_docs", [row["id"] for page in store.rows("obelisk_docs") for row in page][:5])
    [folder] = caches(site)["models"]
    blob = max((path for path in folder.rglob("blobs/*")), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"rot")
    assert any(finding.ok is False for finding in data.model_findings(site))

    plan = stand.cli("restore", "obelisk", snapshot)
    assert any(step["verb"] == "switch" for step in plan["steps"])
    assert store.count("obelisk_docs") == len(list(stand.corpus.glob("*.md"))) - 5, "a plan changes nothing"
    done = stand.cli("restore", "obelisk", snapshot, "--apply")
    assert done["switched"]

    assert all(finding.ok for finding in data.model_findings(site))
    assert store.count("obelisk_docs") == len(list(stand.corpus.glob("*.md")))
    until(lambda: _answers(stand) == right, what="the restored stack to answer as before", seconds=60)


def _answers(stand: Stand) -> list[str]:
    try:
        return answer(stand, "bake a loaf")
    except OpsError:
        return []


def test_7_observing_changes_nothing(stand: Stand) -> None:
    with pytest.raises(UsageError, match="only observes"):
        scaling.apply(stand.site, "model-server", current=1, wanted=2, decided=now(), by="test")
    assert deployments.replicas(stand.site, "model-server") == 1


def test_7_a_new_worker_receives_requests_and_goes_again(stand: Stand) -> None:
    stand.environ["OPS_OBELISK_SCALING"] = "approve"
    site = stand.site
    scaling.apply(site, "model-server", current=1, wanted=2, decided=now(), by="test")
    assert deployments.replicas(site, "model-server") == 2
    url = f"{endpoint(site, 'model-server')}/v1/embeddings"
    body = {"model": served_name(site, "text-embedding"), "input": "who answers?"}
    seen: set[str] = set()
    for _ in range(200):
        seen.add(httpx.post(url, json=body, trust_env=False).headers["X-Worker"])
        if len(seen) == 2:
            break
    assert seen == {"model-server-0", "model-server-1"}
    pids = {row["replica"]: row["pid"] for row in stand.cli("status", "obelisk")["replicas"]}
    scaling.apply(site, "model-server", current=2, wanted=1, decided=now(), by="test")
    after = {row["replica"]: row["pid"] for row in stand.cli("status", "obelisk")["replicas"]}
    assert after["obelisk.model-server.0"] == pids["obelisk.model-server.0"]
    assert "obelisk.model-server.1" not in after


def test_8_scaling_is_decided_from_real_readings(stand: Stand) -> None:
    exporter = endpoint(stand.site, "gpu-exporter")
    stand.cli("scale", "explain", "obelisk")
    httpx.post(f"{exporter}/hold", json={"utilisation": 100})
    busy = stand.cli("scale", "explain", "obelisk")["model-server"]
    assert busy["wanted"] > busy["current"]
    signals = {one["signal"]: one for one in busy["signals"]}
    assert signals["gpu"]["value"] == 100
    assert signals["queue"]["value"] is not None
    httpx.delete(f"{exporter}/hold")


def test_9_rollback(stand: Stand, tmp_path: Path) -> None:
    revisions = stand.cli("revisions", "obelisk")
    first = min(one["revision"] for one in revisions)
    done = stand.cli("rollback", "obelisk", "--to", str(first))
    assert done["plan"]["steps"]
    assert stand.run("rollback", "obelisk", "--to", "99").returncode == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("status", "obelsik"), 2, "did you mean 'obelisk'"),
        (("deploy", "multi-adapter-llama3"), 1, "MULTI_ADAPTER_S3_ACCESS_KEY is not set"),
        (("verify", "obelisk", "20200101T000000Z-000000"), 2, "the newest are"),
        (("restore", "obelisk", "nonsense"), 2, "snapshot"),
    ],
)
def test_what_cannot_be_done_is_said(stand: Stand, words: tuple[str, ...], code: int, told: str) -> None:
    done = stand.run(*words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "What to do" in done.stderr


def test_no_secret_is_in_any_file_of_the_home(stand: Stand) -> None:
    value = stand.environ["OPS_S3_SECRET_KEY"].encode()
    holders = [path for path in stand.home.rglob("*") if path.is_file() and value in path.read_bytes()]
    assert holders == []


def test_a_killed_model_server_comes_back(stand: Stand) -> None:
    before = {row["replica"]: row["pid"] for row in stand.cli("status", "obelisk")["replicas"]}
    os.kill(before["obelisk.model-server.0"], signal.SIGKILL)
    until(
        lambda: any(
            row["replica"] == "obelisk.model-server.0"
            and row["answers"] == "yes"
            and row["pid"] != before["obelisk.model-server.0"]
            for row in json.loads(stand.run("status", "obelisk", "--json").stdout)["replicas"]
        ),
        what="the model server to be started again",
        seconds=60,
    )
