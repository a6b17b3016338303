"""Each form of each stack: its Compose files and its declaration say the same thing."""

from __future__ import annotations

import re

import pytest

from ops_pipelines.policy.compose_profiles import switched_on
from ops_pipelines.policy.programs import endpoints
from ops_pipelines.settings import load_settings
from ops_pipelines.stack.components import Component
from ops_pipelines.wiring import linting
from tests.deploy.projects import DEPLOY, ROOT, Form, environ_word, forms, stack_files

FORMS = forms()
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


def _here(form: Form) -> dict[str, Component]:
    """Components that the stack runs itself."""
    return {name: one for name, one in form.declared.components.items() if one.address is None}


def test_every_stack_has_a_form_on_compose() -> None:
    assert {form.stack for form in FORMS} == {file.parent.name for file in stack_files()}


@every_form
def test_compose_accepts_every_choice_of_profiles(form: Form) -> None:
    always = set(form.project(())["services"])
    for chosen in form.choices:
        assert always <= set(form.project(chosen)["services"])


@every_form
def test_a_deploy_reads_the_same_services(form: Form) -> None:
    for chosen in form.choices:
        assert set(switched_on(form.as_written(), chosen)["services"]) == set(
            form.project(chosen)["services"]
        )


@every_form
def test_components_are_the_services(form: Form) -> None:
    assert set(form.target.compose_profiles) <= set(form.compose_profiles)
    assert set(_here(form)) == set(form.services)
    assert form.project()["name"] == form.target.project


@every_form
def test_images_profiles_and_replicas_agree(form: Form) -> None:
    for name, component in _here(form).items():
        service = form.services[name]
        assert component.image == service["image"], name
        named = [component.compose_profile] if component.compose_profile else []
        assert named == service.get("profiles", []), name
        assert component.replicas == (service.get("deploy") or {}).get("replicas", 1), name


@every_form
def test_resources_agree(form: Form) -> None:
    for name, component in _here(form).items():
        resources = form.services[name]["deploy"]["resources"]
        limits, asked = resources["limits"], resources.get("reservations") or {}
        said = component.resources
        assert said.memory_limit == int(limits["memory"]), name
        assert said.memory == (int(asked["memory"]) if "memory" in asked else None), name
        assert said.cpu_limit == limits.get("cpus"), name
        assert said.cpu == asked.get("cpus"), name


@every_form
def test_cards_agree(form: Form) -> None:
    for name, component in _here(form).items():
        need, service = component.resources, form.services[name]
        devices = (service["deploy"]["resources"].get("reservations") or {}).get("devices") or []
        nvidia = [one for one in devices if one.get("driver") == "nvidia"]
        if component.kind == "exporter" or not nvidia:
            continue
        [one] = nvidia
        wanted = max(1, need.gpus)
        if need.gpu is None:
            assert one.get("count", len(one.get("device_ids", []))) == wanted, name
        else:
            assert one["device_ids"] == [str(need.gpu + i) for i in range(wanted)], name


@every_form
def test_engines_are_started_with_the_declared_options(form: Form) -> None:
    for name, component in _here(form).items():
        if component.kind in ("vllm", "aphrodite", "ray-head", "ray-worker") and component.command:
            assert [str(word) for word in form.services[name]["command"]] == component.command, name


@every_form
def test_declared_environment_and_secrets_reach_the_service(form: Form) -> None:
    references = {key: one.target for key, one in form.declared.secrets.items()}
    secrets = form.project().get("secrets", {})
    for name, component in _here(form).items():
        service = form.services[name]
        environment = service.get("environment") or {}
        for key, value in component.environment.items():
            assert environment.get(key) == value, f"{name}: {key}"
        files = {secrets[one["source"]]["environment"] for one in service.get("secrets") or ()}
        for variable, secret in component.secrets.items():
            given = environment.get(variable) == environ_word(references[secret])
            assert given or references[secret] in files, f"{name}: {variable}"


@every_form
def test_what_is_asked_from_this_machine_is_reached_on_its_loopback(form: Form) -> None:
    stack = form.declared
    asked = {one.component for one in stack.databases.values() if one.backup}
    asked |= {one.store for one in stack.collections.values() if one.backup}
    asked |= {one.component for one in stack.buckets.values() if one.backup and one.component}
    asked |= {one.served_by for one in stack.models.values() if one.served_by and one.role != "adapter"}
    for name in asked & set(_here(form)):
        [address, *_] = endpoints(stack)[name]
        port = int(address.rpartition(":")[2])
        published = {int(one["published"]) for one in form.services[name].get("ports") or ()}
        assert port in published, f"{name}: nobody publishes {port}"


@every_form
def test_published_ports_are_declared_ones_and_none_twice(form: Form) -> None:
    seen: dict[str, str] = {}
    for name, service in form.services.items():
        for port in service.get("ports") or ():
            assert seen.setdefault(port["published"], name) == name, port
            declared = form.declared.components[name].ports.values()
            assert int(port["published"]) in declared, f"{name}: {port['published']}"


@every_form
def test_health_is_asked_at_the_declared_place(form: Form) -> None:
    for name, component in _here(form).items():
        if component.health.path is None or component.kind == "ollama":
            continue  # the image of Ollama has no HTTP client: `ollama list` asks for the tags
        test = " ".join(form.services[name]["healthcheck"]["test"])
        assert component.health.path in test, name
        assert re.search(rf"\b{component.ports[component.health.port]}\b", test), name


@every_form
def test_a_slow_start_is_no_failure(form: Form) -> None:
    for name, component in _here(form).items():
        start = _seconds(form.services[name].get("healthcheck", {}).get("start_period", "0s"))
        assert start <= component.health.within, name
        if component.kind in ("vllm", "aphrodite"):
            assert start >= 600, f"{name} loads a model"


@every_form
def test_every_volume_is_kept_or_named_as_left_out(form: Form) -> None:
    stack = form.declared
    held = {one.component for one in stack.databases.values()}
    held |= {one.store for one in stack.collections.values()}
    cached = {one.served_by: stack.caches[one.cache].path for one in stack.models.values() if one.cache}
    for name, service in form.services.items():
        declared = stack.components[name].volumes
        for mount in service.get("volumes") or ():
            source, target = mount.get("source", ""), mount["target"]
            if mount["type"] != "volume" or (name in held and source not in declared):
                continue  # a server's own files are kept by its rows
            assert declared.get(source) == target, f"{name}: {source}"
            if source in stack.volumes:
                assert f"{stack.volumes[source].path}/".startswith(f"{target}/"), f"{name}: {source}"
            else:
                assert source in stack.caches, f"{name}: {source}"
    for server, path in cached.items():
        if stack.components[server or ""].address is None:
            targets = [one["target"] for one in form.services[server or ""]["volumes"]]
            assert any(path.startswith(target) for target in targets), f"{server}: {path}"


@pytest.mark.parametrize("stack", sorted({form.stack for form in FORMS}))
def test_lint_has_nothing_to_say(stack: str) -> None:
    lines = linting.lint_paths([DEPLOY / stack / "stack.yaml"], load_settings({}, cwd=ROOT))
    assert [line.message for line in lines if line.severity != "info"] == []


def _seconds(text: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
