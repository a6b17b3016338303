"""Addresses that belong to one cluster of this machine: of two clusters with the same ones, the later would take the
traffic of the earlier."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_NUMBERS = range(200, 250)


@dataclass(frozen=True)
class Net:
    """10.`number`.0.0/16, cut up; ours for as long as `held` is open."""

    number: int
    held: IO[str] = field(repr=False)

    @property
    def name(self) -> str:
        """What names on this machine begin with: folder, link, cgroup."""
        return f"ops-cluster-{self.number}"

    @property
    def whole(self) -> str:
        return f"10.{self.number}.0.0/16"

    @property
    def machine(self) -> str:
        """This machine, as pods see it: the API server answers there."""
        return f"10.{self.number}.0.1"

    @property
    def node(self) -> str:
        """The real node."""
        return f"10.{self.number}.0.2"

    @property
    def seeming(self) -> str:
        """Of pods that only seem to run."""
        return f"10.{self.number}.32.0/19"

    @property
    def pods(self) -> str:
        """Of pods that run."""
        return f"10.{self.number}.64.0/18"

    @property
    def bridge(self) -> str:
        """The pods' way out; names are asked for there."""
        return f"10.{self.number}.64.1"

    @property
    def services(self) -> str:
        return f"10.{self.number}.128.0/17"

    @property
    def api(self) -> str:
        """The Service `kubernetes`."""
        return f"10.{self.number}.128.1"


def take() -> Net:
    """Addresses that no other cluster has."""
    for number in _NUMBERS:
        path = Path(tempfile.gettempdir()) / f"ops-cluster-net-{number}.lock"
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "w")
        except PermissionError:  # another user's
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return Net(number, file)
    raise RuntimeError("every network of the tests' clusters is taken")
