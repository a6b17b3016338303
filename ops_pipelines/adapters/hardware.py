"""What this machine computes with: CPU, NVIDIA (NVML), AMD and Intel (sysfs of the kernel's drivers), Apple."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.tuning import Hardware

_DRM = Path("/sys/class/drm")
_AMD, _INTEL = "0x1002", "0x8086"
_DISCRETE = "0x0300"
"""PCI class of a display controller, as sysfs begins it."""


def find_hardware(search_path: str = "", *, drm: Path = _DRM) -> Hardware:
    """The hardware of this machine. What could not be asked is a note, never a zero."""
    machine = LocalMachine(search_path)
    memory = machine.memory()
    total = memory.total if memory else None
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Hardware("apple", cores, total)
    nvidia = machine.cards()
    if isinstance(nvidia, tuple) and nvidia:
        return Hardware("nvidia", cores, total, nvidia)
    note = nvidia if isinstance(nvidia, str) else ""
    if amd := _cards(drm, _AMD):
        return Hardware("amd", cores, total, amd, note)
    if intel := _cards(drm, _INTEL):
        return Hardware("intel", cores, total, intel, note)
    return Hardware("cpu", cores, total, (), note)


_MODULES = Path("/sys/module")


def driver_version(*, modules: Path = _MODULES) -> str | None:
    """Version of the cards' driver in the kernel; None where there is none, or it does not say.

    NVIDIA's modules and amdgpu's DKMS package tell it in sysfs; drivers that come with the kernel go by its release."""
    for name in ("nvidia", "amdgpu"):
        if found := _read(modules / name / "version"):
            return found
    if any((modules / name).is_dir() for name in ("amdgpu", "xe", "i915")):
        return platform.release().partition("-")[0]
    return None


def _cards(drm: Path, vendor: str) -> tuple[Card, ...]:
    """Cards of a vendor with memory of their own (`mem_info_vram_total` of amdgpu, `lmem_total_bytes` of xe and i915).

    An integrated one has none, and is left out."""
    found: list[Card] = []
    for card in sorted(drm.glob("card[0-9]*")):
        if "-" in card.name or _read(card / "device" / "vendor") != vendor:
            continue
        total = _number(card / "device" / "mem_info_vram_total") or _number(card / "lmem_total_bytes")
        used = _number(card / "device" / "mem_info_vram_used")
        if total:
            found.append(Card(len(found), _name(card), total, None if used is None else total - used))
    return tuple(found)


def _name(card: Path) -> str:
    return _read(card / "device" / "product_name") or f"PCI {_read(card / 'device' / 'device') or 'device'}"


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
