"""`python -m tests.cluster.names ADDRESS KUBECONFIG`: names of Services and their pods, as a cluster's DNS has them.

It stands in for CoreDNS, of which no version builds with the libraries of the cluster's own Kubernetes. The names are
those of github.com/kubernetes/dns, docs/specification.md: A records of Services, of the endpoints of those without an
address, and of pods with a name in them. It asks the API server for each, so it knows no old ones.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

import httpx

_ZONE = "svc.cluster.local"
_A, _IN = 1, 1
_NO_NAME, _OK, _FAILED = 3, 0, 2


def main() -> None:
    address, kubeconfig = sys.argv[1:]
    view = json.loads(Path(kubeconfig).read_text())
    server = view["clusters"][0]["cluster"]
    authority = base64.b64decode(server["certificate-authority-data"]).decode()
    client = httpx.Client(
        base_url=server["server"],
        headers={"Authorization": f"Bearer {view['users'][0]['user']['token']}"},
        verify=ssl.create_default_context(cadata=authority),
        timeout=5,
        trust_env=False,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, 53))
        while True:
            asked, who = door.recvfrom(4096)
            try:
                door.sendto(answer(asked, client), who)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue  # no question


def answer(asked: bytes, client: httpx.Client) -> bytes:
    """The answer to a question, as RFC 1035 has it."""
    name, end = _name(asked)
    kind, _ = struct.unpack_from("!HH", asked, end)
    try:
        found = addresses(name, client)
        code = _NO_NAME if found is None else _OK
    except httpx.HTTPError:
        found, code = None, _FAILED
    records = found or [] if kind == _A else []
    head = asked[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0)
    body = b"".join(
        struct.pack("!HHHIH", 0xC00C, _A, _IN, 1, 4) + ipaddress.IPv4Address(one).packed for one in records
    )
    return head + asked[12 : end + 4] + body


def addresses(name: str, client: httpx.Client) -> list[str] | None:
    """Those of a name, perhaps none; None where there is no such name."""
    words = name.lower().removesuffix("." + _ZONE).split(".")
    if not name.lower().endswith("." + _ZONE) or len(words) not in (2, 3):
        return None
    service, space = words[-2:]
    got = client.get(f"/api/v1/namespaces/{space}/services/{service}")
    if got.status_code == 404:
        return None
    spec = got.raise_for_status().json()["spec"]
    if len(words) == 2 and spec.get("clusterIP", "None") != "None":
        return [spec["clusterIP"]]
    listed = client.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices",
        params={"labelSelector": f"kubernetes.io/service-name={service}"},
    )
    ends = [end for one in listed.raise_for_status().json()["items"] for end in one.get("endpoints") or []]
    ready = [end for end in ends if end["conditions"].get("ready") or spec.get("publishNotReadyAddresses")]
    if len(words) == 3:
        ready = [end for end in ready if end.get("hostname") == words[0]]
        return [address for end in ready for address in end["addresses"]] or None
    return [address for end in ready for address in end["addresses"]]


def _name(asked: bytes) -> tuple[str, int]:
    """The name in a question, and where its type begins."""
    words: list[str] = []
    at: Any = 12
    while size := asked[at]:
        words.append(asked[at + 1 : at + 1 + size].decode("ascii"))
        at += 1 + size
    return ".".join(words), at + 1


if __name__ == "__main__":
    main()
