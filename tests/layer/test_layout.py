"""The card's layout and the kas files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import yaml  # noqa: E402
from layer import lint  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def partitions() -> list[dict[str, str]]:
    found = []
    for line in (ROOT / "wic" / "whisper-ab.wks").read_text().splitlines():
        if line.startswith("part"):
            found.append(dict(re.findall(r"--([a-z-]+)[= ](\S+)", line)))
    return found


def test_the_two_slots_are_of_one_size_and_data_is_last() -> None:
    boot, root_a, root_b, data = partitions()
    assert [p["label"] for p in (boot, root_a, root_b, data)] == ["boot", "root_a", "root_b", "data"]
    assert root_a["fixed-size"] == root_b["fixed-size"]
    assert root_a["source"] == "rootfs"
    assert "source" not in root_b
    assert boot["fstype"] == "vfat"
    assert all("fixed-size" in p for p in (boot, root_a, root_b, data))


def test_nothing_is_written_into_the_roots_fstab() -> None:
    """wic changes fstab for each mount point but "/", and the root has to be the same bytes in both slots."""
    lines = (ROOT / "wic" / "whisper-ab.wks").read_text().splitlines()
    points = [line.split()[1] for line in lines if line.startswith("part") and line.split()[1].startswith("/")]
    assert points == ["/"]


def test_the_data_partition_is_mounted_by_its_label() -> None:
    unit = (ROOT / "recipes-core" / "whisper-data" / "files" / "data.mount").read_text()
    assert "What=/dev/disk/by-label/data" in unit
    assert partitions()[3]["label"] == "data"
    assert f"Type={partitions()[3]['fstype']}" in unit


def test_kas_files_are_what_kas_reads() -> None:
    assert list(lint.kas_findings()) == []


def test_a_repository_without_a_commit_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = tmp_path / "kas.yml"
    faulty.write_text(
        "header: {version: 14}\nrepos: {poky: {url: 'https://example.com', branch: kirkstone}}\nx: 1\n"
    )
    monkeypatch.setattr(lint, "kas_files", lambda: [faulty])
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    found = list(lint.kas_findings())
    assert any("poky is not pinned" in line for line in found)
    assert any("'x' was unexpected" in line for line in found)


def test_overlays_name_no_recipe_that_is_not_there() -> None:
    recipes = {path.name.partition("_")[0].removesuffix(".bb") for path in ROOT.glob("recipes-*/*/*.bb")}
    for path in lint.kas_files():
        document = yaml.safe_load(path.read_text())
        if target := document.get("target"):
            assert target in recipes, path.name


def test_findings_are_explained_one_by_one_and_stale_explanations_are_found() -> None:
    found = [lint.Finding("a/b.bb", "1", "rule.one", "text"), lint.Finding("a/b.bb", "2", "rule.two", "text")]
    assert list(lint.unexplained(found, [("a/*", "rule.one"), ("c/*", "rule.two")])) == [
        "a/b.bb:2: rule.two: text",
        f"{lint.EXPLAINED.name}: c/* rule.two explains nothing any more: remove it",
    ]
    with pytest.raises(ValueError, match="not 'file rule reason'"):
        lint.explanations("a/b.bb rule.one\n")
