"""Volumes for claims of the class `standard`: a folder of this machine for each, as the class's provisioner makes it.

They are `local` volumes, and not `hostPath`: kubelet gives those to the pod's group, as it does with a real disk.
As in most clouds, a volume is made where its first pod is to run, and goes with its claim.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.plane import ControlPlane

CLASS = "standard"
_PROVISIONER = "ops-test/folders"
_CHOSEN = "volume.kubernetes.io/selected-node"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_PAUSE = 0.2
"""Seconds between two looks: claims are few, and a look is cheap."""


class Provisioner(threading.Thread):
    """Makes volumes for claims, and removes those whose claims are gone."""

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(daemon=True)
        self._plane, self._folder, self._ended = plane, plane.folder / "volumes", threading.Event()

    def run(self) -> None:
        """Look until the end; a server that is away is looked for again."""
        self._folder.mkdir(exist_ok=True)
        with self._plane.client() as client:
            self._make_class(client)
            while not self._ended.wait(_PAUSE):
                try:
                    self._look(client)
                except (httpx.HTTPError, KeyError):
                    continue

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        if self.ident is not None:
            self.join(10)

    def _make_class(self, client: httpx.Client) -> None:
        client.post(
            "/apis/storage.k8s.io/v1/storageclasses",
            json={
                "metadata": {
                    "name": CLASS,
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": _PROVISIONER,
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        ).raise_for_status()

    def _look(self, client: httpx.Client) -> None:
        for claim in client.get(_CLAIMS).json()["items"]:
            spec, about = claim["spec"], claim["metadata"]
            node = about.get("annotations", {}).get(_CHOSEN)
            if node and spec.get("storageClassName") == CLASS and not spec.get("volumeName"):
                self._make(client, claim, node)
        for volume in client.get(_VOLUMES).json()["items"]:
            ours = volume["metadata"].get("annotations", {}).get("pv.kubernetes.io/provisioned-by")
            freed = (volume["status"].get("phase"), volume["spec"]["persistentVolumeReclaimPolicy"])
            if ours == _PROVISIONER and freed == ("Released", "Delete"):
                shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
                client.delete(f"{_VOLUMES}/{volume['metadata']['name']}")

    def _make(self, client: httpx.Client, claim: dict[str, Any], node: str) -> None:
        """Make it once: its name is the claim's, and a second one of that name is refused."""
        about = claim["metadata"]
        name = f"pvc-{about['uid']}"
        path = self._folder / name
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
        where = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        client.post(_VOLUMES, json=_volume(name, claim, path, where))


def _volume(name: str, claim: dict[str, Any], path: Path, where: dict[str, Any]) -> dict[str, Any]:
    about, spec = claim["metadata"], claim["spec"]
    return {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": _PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [where]}]}},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{key: about[key] for key in ("name", "namespace", "uid")},
            },
        },
    }
