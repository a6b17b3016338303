"""Volumes of one stack as parts."""

from __future__ import annotations

from pathlib import Path

from ops_pipelines.adapters.volumefiles import read_volume
from ops_pipelines.engines.parts.volume import ReadVolume, VolumeSource, VolumeTarget
from ops_pipelines.engines.ports import Progress
from ops_pipelines.policy import programs
from ops_pipelines.policy.programs import volume_place
from ops_pipelines.policy.volumes import VolumeReading
from ops_pipelines.wiring import compose_data
from ops_pipelines.wiring.connect import in_a_cluster, places
from ops_pipelines.wiring.site import Site


def volume_folders(site: Site, name: str) -> tuple[Path, ...]:
    """Folder of each replica of a volume."""
    if site.stack.target.kind == "compose":
        return compose_data.folders(site, "volume", name)
    if site.stack.target.kind == "kubernetes":
        raise in_a_cluster(site)
    replicas = range(site.stack.volumes[name].replicas)
    return tuple(Path(volume_place(site.stack, name, replica, places(site))) for replica in replicas)


def volume_source(site: Site, name: str) -> VolumeSource:
    """What a backup reads."""
    declared = site.stack.volumes[name]
    return VolumeSource(name, declared.replicas, _reader(site, name), declared.may_be_empty)


def volume_target(site: Site, name: str) -> VolumeTarget:
    """Where a restore puts it."""
    return VolumeTarget(name, volume_folders(site, name))


def users_of(site: Site, volume: str) -> tuple[str, ...]:
    """Components that keep a volume's files open: they mount it, or name it in their command or environment."""
    return programs.users_of(site.stack, volume)


def _reader(site: Site, name: str) -> ReadVolume:
    declared, folders = site.stack.volumes[name], volume_folders(site, name)

    def read(replica: int, scratch: Path, progress: Progress) -> VolumeReading:
        return read_volume(
            folders[replica],
            scratch,
            exclude=declared.exclude,
            changing=declared.changing,
            index=site.state / "inventory" / f"volume-{name}.{replica}.json",
            reread_days=declared.reread_days,
            progress=progress,
        )

    return read
