"""Hardware by the kernel's own files: those of amdgpu and xe are laid out as their documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.adapters import hardware
from ops_pipelines.adapters.machine import LocalMachine


def device(drm: Path, name: str, vendor: str, **files: str) -> None:
    folder = drm / name / "device"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n")


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalMachine, "cards", lambda _: "NVML cannot be asked")


def test_amd_cards_with_their_memory(tmp_path: Path) -> None:
    # https://docs.kernel.org/gpu/amdgpu/driver-misc.html: mem_info_vram_total, mem_info_vram_used
    device(tmp_path, "card0", "0x1002", mem_info_vram_total="17163091968", mem_info_vram_used="1000")
    device(tmp_path, "card0-DP-1", "0x1002")
    found = hardware.find_hardware(drm=tmp_path)
    assert found.maker == "amd"
    [card] = found.cards
    assert (card.memory, card.free) == (17163091968, 17163090968)


def test_intel_cards_by_their_local_memory(tmp_path: Path) -> None:
    device(tmp_path, "card1", "0x8086")
    (tmp_path / "card1" / "lmem_total_bytes").write_text("17179869184")
    assert hardware.find_hardware(drm=tmp_path).maker == "intel"


def test_an_integrated_one_is_no_card(tmp_path: Path) -> None:
    device(tmp_path, "card0", "0x8086")
    found = hardware.find_hardware(drm=tmp_path)
    assert found.maker == "cpu"
    assert found.note == "NVML cannot be asked"


def test_this_machine_has_cores_and_memory(tmp_path: Path) -> None:
    found = hardware.find_hardware(drm=tmp_path / "none")
    assert found.cores >= 1
    assert found.memory is not None
    assert found.memory > 0
