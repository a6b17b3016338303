"""What every service of deploy/ keeps to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.projects import DEPLOY, Form, forms

every_form = pytest.mark.parametrize("form", forms(), ids=str)
FILES = sorted(file for file in DEPLOY.rglob("*") if file.is_file())
COMPOSE = sorted(DEPLOY.glob("*/compose*.yaml"))
_FLOATING = re.compile(r"(^|[-_.])(latest|nightly|main|master|edge|dev)($|[-_.])")
_SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|SALT|_KEY)$")
_DEFAULT = re.compile(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN|SALT|_KEY)\w*):?-[^}]+\}")

AS_ROOT = {
    "vllm/vllm-openai": "keeps its caches under /root",
    "ghcr.io/berriai/litellm": "keeps Prisma's engines under /root",
    "ollama/ollama": "keeps its models under /root; cards are opened by their group",
    "alpindale/aphrodite-openai": "keeps its caches under /root",
    "aphrodite/engine": "keeps its caches under /root",
    "aphrodite/keepalived": "gives the machine an address",
    "grafana/alloy": "reads the log files of Docker, which are root's",
    "quay.io/coreos/etcd": "its volume is root's",
    "milvusdb/milvus": "its /var/lib/milvus is root's",
    "chrislusf/seaweedfs": "its /data is root's",
    "ghcr.io/open-webui/open-webui": "its data folder is root's",
    "langflowai/langflow": "its volume is root's, as the image has no such folder",
}
"""Images whose user is root, and why it stays so; with no capability, and none to be had."""
ON_THE_HOST = {"aphrodite/keepalived": "the virtual address is the machine's own"}
"""Images that share the machine's network, and why."""
NOT_ROOT = {
    "langfuse/langfuse": "nextjs",
    "langfuse/langfuse-worker": "nextjs",
}
"""Images that name a user of their own."""


@every_form
def test_images_are_pinned(form: Form) -> None:
    for name, service in form.services.items():
        tag = service["image"].partition("@")[0].rpartition("/")[2].partition(":")[2]
        assert re.search(r"\d", tag), name
        assert not _FLOATING.search(tag), name


@every_form
def test_services_can_gain_no_privilege(form: Form) -> None:
    for name, service in form.services.items():
        assert service.get("cap_drop") == ["ALL"], name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert not {"SYS_ADMIN", "SYS_PTRACE", "ALL"} & set(service.get("cap_add") or ()), name
        image = service["image"].partition("@")[0].rpartition(":")[0]
        assert service.get("network_mode") != "host" or image in ON_THE_HOST, name
        assert "container_name" not in service, f"{name} could not be scaled"
        mounted = [one.get("source", "") for one in service.get("volumes") or ()]
        assert not [path for path in mounted if "docker.sock" in path], name


@every_form
def test_no_service_runs_as_root_without_a_reason(form: Form) -> None:
    for name, service in form.services.items():
        image = service["image"].partition("@")[0].rpartition(":")[0]
        user = str(service.get("user", ""))
        assert image in AS_ROOT or image in NOT_ROOT or (user and not user.startswith("0")), (
            f"{name}: {image}"
        )


@every_form
def test_services_are_looked_after(form: Form) -> None:
    for name, service in form.services.items():
        assert service.get("init") is True, name
        assert "stop_grace_period" in service, name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name
        assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0, name
        if service["restart"] == "no":
            continue  # it does its work and ends
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys(), name


@every_form
def test_who_waits_waits_for_a_condition_that_can_come(form: Form) -> None:
    for name, service in form.services.items():
        for other, how in (service.get("depends_on") or {}).items():
            ends = form.services[other]["restart"] == "no"
            assert (how["condition"] == "service_completed_successfully") == ends, f"{name}: {other}"


@every_form
def test_ports_are_published_on_the_loopback(form: Form) -> None:
    for name, service in form.services.items():
        for port in service.get("ports") or ():
            assert port.get("host_ip") == "127.0.0.1", f"{name}: {port}"


@every_form
def test_a_read_only_root_has_no_secret_from_the_environment(form: Form) -> None:
    """Compose copies it into the container, which the engine refuses: docker/compose#12031."""
    for name, service in form.services.items():
        assert not (service.get("read_only") and service.get("secrets")), name


@every_form
def test_every_network_and_volume_is_used(form: Form) -> None:
    project = form.project()
    used = {name for one in project["services"].values() for name in one.get("networks") or ()}
    assert used == set(project["networks"])
    assert "default" not in used
    mounts = [one for service in project["services"].values() for one in service.get("volumes") or ()]
    assert {one["source"] for one in mounts if one["type"] == "volume"} == set(project["volumes"])
    for mount in mounts:
        if mount["type"] == "bind":
            assert Path(mount["source"]).exists() or not mount["source"].startswith(str(DEPLOY)), mount


@every_form
def test_secrets_come_from_variables_that_must_be_set(form: Form) -> None:
    for name, secret in form.project().get("secrets", {}).items():
        assert set(secret) <= {"environment", "name"}, name
    for name, service in form.services.items():
        for key, value in (service.get("environment") or {}).items():
            if _SECRET.search(key) and not key.endswith("_FILE"):
                assert str(value).startswith("a-word-for-"), f"{name}: {key}"
        assert "a-word-for-" not in " ".join(map(str, service.get("command") or [])), f"{name}: `ps` shows it"


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_no_secret_has_a_default(file: Path) -> None:
    assert _DEFAULT.findall(file.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_no_file_holds_a_well_known_password(file: Path) -> None:
    words = re.findall(r"minioadmin|sk-1234|changeme|password123|postgres:postgres", file.read_text())
    assert words == []
