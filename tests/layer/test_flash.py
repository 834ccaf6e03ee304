"""scripts/flash: which devices it refuses, which image it takes, and what it hands to bmaptool."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FLASH = Path(__file__).resolve().parents[2] / "scripts" / "flash"
GIB = 1 << 30
BMAP = '<?xml version="1.0" ?>\n<bmap version="2.0">\n<ImageSize> {size} </ImageSize>\n</bmap>\n'


@dataclass
class Bench:
    """A card, a kernel that tells of it, and a build folder; nothing here can be written to for real."""

    folder: Path
    device: Path
    mounts: str = ""
    swaps: str = "Filename Type Size Used Priority\n"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def block(self) -> Path:
        return self.folder / "sys" / "class" / "block"

    def disk(self, removable: str = "1", size: int = 8 * GIB, *parts: str) -> None:
        for name in (self.device.name, *parts):
            entry = self.block / name
            (entry / "holders").mkdir(parents=True)
            (entry / "size").write_text(f"{size // 512}\n")
            if name != self.device.name:
                (self.block / self.device.name / name).mkdir()  # as in /sys/class/block/sda/sda1
        (self.block / self.device.name / "removable").write_text(f"{removable}\n")

    def image(self, name: str, age: float = 0.0, size: int = GIB) -> Path:
        folder = self.folder / "build" / "tmp" / "deploy" / "images" / "raspberrypi4-64"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.wic.bz2"
        path.write_bytes(b"image")
        (folder / f"{name}.wic.bmap").write_text(BMAP.format(size=size))
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
        return path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "mounts").write_text(self.mounts)
        (self.folder / "swaps").write_text(self.swaps)
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        bmaptool = tools / "bmaptool"
        bmaptool.write_text(f'#!/bin/sh\necho "$@" >{self.folder}/written\n')
        bmaptool.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "FLASH_SYS": str(self.folder / "sys"),
            "FLASH_MOUNTS": str(self.folder / "mounts"),
            "FLASH_SWAPS": str(self.folder / "swaps"),
            "BUILDDIR": str(self.folder / "build"),
            **self.environment,
        }
        return subprocess.run(
            [FLASH, *arguments], text=True, capture_output=True, env=environment, timeout=30, check=False
        )

    @property
    def written(self) -> str | None:
        file = self.folder / "written"
        return file.read_text().strip() if file.exists() else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    device = tmp_path / "sdtest"
    try:
        # A number that no driver has: opening it fails, whatever happens.
        os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(240, 99))
    except PermissionError:
        pytest.skip("only root can make the device node that this needs")
    return Bench(tmp_path, device)


def test_the_newest_image_is_written_with_its_block_map(bench: Bench) -> None:
    bench.disk()
    bench.image("whisper-image-old", age=1000)
    newest = bench.image("whisper-image-dev-new", age=10)
    bench.image("core-image-minimal", age=0)
    done = bench.run(str(bench.device))
    assert done.returncode == 0, done.stderr
    assert bench.written == f"copy --bmap {str(newest).removesuffix('.bz2')}.bmap {newest} {bench.device}"


def test_a_link_to_an_image_is_not_taken_for_a_newer_one(bench: Bench) -> None:
    bench.disk()
    newest = bench.image("whisper-image-20260101")
    (newest.parent / "whisper-image.wic.bz2").symlink_to(newest.name)
    assert bench.run(str(bench.device)).returncode == 0
    assert bench.written is not None
    assert f" {newest} " in bench.written


def test_a_dry_run_writes_nothing(bench: Bench) -> None:
    bench.disk()
    image = bench.image("whisper-image-1")
    done = bench.run("--dry-run", str(bench.device))
    assert done.returncode == 0
    assert str(image) in done.stderr
    assert "nothing was written" in done.stderr
    assert bench.written is None


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("fixed", "is not removable"),
        ("mounted", "is mounted on /media/card"),
        ("mounted partition", "sdtest1 is mounted on /media/card"),
        ("swap", "in use as swap"),
        ("held", "in use by another device"),
        ("partition", "is a partition; name the whole device"),
        ("unknown", "the kernel knows no disk"),
        ("small", "the image needs 1073 MB"),
        ("no image", "build one: kas build kas.yml"),
        ("no map", "no block map beside"),
        ("bad map", "is not a block map"),
    ],
)
def test_what_is_refused(bench: Bench, case: str, words: str, dry: bool) -> None:
    name = bench.device.name
    if case != "unknown":
        bench.disk("0" if case == "fixed" else "1", GIB // 2 if case == "small" else 8 * GIB, f"{name}1")
    if case.startswith("mounted"):
        part = f"{name}1" if case.endswith("partition") else name
        bench.mounts = f"/dev/{part} /media/card ext4 rw 0 0\n"
    if case == "swap":
        bench.swaps += f"/dev/{name}1 partition 1 0 -2\n"
    if case == "held":
        (bench.block / f"{name}1" / "holders" / "dm-0").mkdir()
    if case == "partition":
        (bench.block / name / "partition").write_text("1\n")
    if case != "no image":
        image = bench.image("whisper-image-1")
        bmap = image.with_suffix(".bmap")
        if case == "no map":
            bmap.unlink()
        if case == "bad map":
            bmap.write_text("nothing\n")
    done = bench.run(*(["--dry-run"] if dry else []), str(bench.device))
    assert done.returncode == 1
    assert words in done.stderr
    assert bench.written is None


def test_a_card_in_an_mmc_slot_counts_as_removable(bench: Bench) -> None:
    bench.disk("0")
    (bench.block / bench.device.name / "device").mkdir()
    (bench.block / bench.device.name / "device" / "type").write_text("SD\n")
    bench.image("whisper-image-1")
    assert bench.run("--dry-run", str(bench.device)).returncode == 0


def test_a_disk_of_a_similar_name_does_not_matter(bench: Bench) -> None:
    bench.disk()
    bench.image("whisper-image-1")
    bench.mounts = f"/dev/{bench.device.name}x /home ext4 rw 0 0\n"
    assert bench.run("--dry-run", str(bench.device)).returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--nothing",), ("/dev/null", "/dev/zero")])
def test_wrong_usage(bench: Bench, arguments: tuple[str, ...]) -> None:
    done = bench.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage")


@pytest.mark.parametrize("path", ["/dev/null", "/nonexistent"])
def test_what_is_no_block_device_is_refused(bench: Bench, path: str) -> None:
    assert bench.run(path).returncode == 1
    assert bench.written is None
