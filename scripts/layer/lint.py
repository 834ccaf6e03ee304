"""Lint the Yocto layer: oelint-adv, kas's schema, and BitBake's parser. scripts/lint-layer runs it.

Each finding of oelint-adv is either mended or explained in oelint-explained.txt, one by one; an explanation that
explains nothing any more is a finding itself.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from .bitbake_parse import ROOT, BitBake, recipes

HERE = Path(__file__).parent
EXPLAINED = HERE / "oelint-explained.txt"
CONSTANTS = HERE / "oelint-constants.json"
#: Between the fields of a finding: in no path and no message.
SEPARATOR = "\x1f"
#: Every machine that an image is made for: overrides differ.
MACHINES = ("raspberrypi4-64", "qemuarm64")
#: For recipes that wait for the user's checksum.
EXAMPLE_PIN = "0" * 64


@dataclass(frozen=True)
class Finding:
    """One line of oelint-adv."""

    path: str
    line: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def metadata() -> list[Path]:
    """Every file that oelint-adv reads."""
    layer = [ROOT / "conf" / "layer.conf", *ROOT.glob("conf/include/*.inc"), *ROOT.glob("classes/*.bbclass")]
    layer += [*ROOT.glob("recipes-*/*/*.bbappend"), *ROOT.glob("dynamic-layers/*/recipes-*/*/*.bbappend")]
    return sorted([*layer, *recipes(), *ROOT.glob("recipes-*/*/*.inc")])


def oelint() -> list[Finding]:
    """All findings of oelint-adv for Kirkstone."""
    command = [
        sys.executable,
        "-m",
        "oelint_adv",
        "--release",
        "kirkstone",
        "--quiet",
        "--exit-zero",
        "--relpaths",
    ]
    # It would ask the network whether home pages answer: a check of other people's servers, and not of this layer.
    command += ["--suppress", "oelint.vars.homepageping"]
    command += ["--constantmods", f"+{CONSTANTS}", "--jobs", "2"]
    command += ["--messageformat", SEPARATOR.join(("{path}", "{line}", "{id}", "{msg}"))]
    done = subprocess.run(
        [*command, *map(str, metadata())], cwd=ROOT, text=True, capture_output=True, timeout=600, check=False
    )
    found = []
    for line in done.stderr.splitlines() + done.stdout.splitlines():
        fields = line.split(SEPARATOR)
        if len(fields) != 4:
            raise RuntimeError(f"oelint-adv says: {line}")
        path = Path(fields[0])
        found.append(Finding(str(path.relative_to(ROOT) if path.is_absolute() else path), *fields[1:]))
    if done.returncode:
        raise RuntimeError(f"oelint-adv ends with {done.returncode}")
    return found


def explanations(text: str) -> list[tuple[str, str]]:
    """The pairs of file pattern and rule in the list; the reason after them is for people, and has to be there."""
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = line.split(maxsplit=2)
            if len(fields) != 3:
                raise ValueError(f"{EXPLAINED.name}:{number}: not 'file rule reason'")
            pairs.append((fields[0], fields[1]))
    return pairs


def unexplained(found: list[Finding], pairs: list[tuple[str, str]]) -> Iterator[str]:
    """Findings that nobody explains, then explanations of nothing."""
    used = set()
    for finding in found:
        hits = {pair for pair in pairs if fnmatch.fnmatch(finding.path, pair[0]) and finding.rule == pair[1]}
        if not hits:
            yield str(finding)
        used |= hits
    for pair in pairs:
        if pair not in used:
            yield f"{EXPLAINED.name}: {pair[0]} {pair[1]} explains nothing any more: remove it"


def kas_files() -> list[Path]:
    """The project file and its overlays."""
    return [ROOT / "kas.yml", *sorted((ROOT / "kas").glob("*.yml"))]


def kas_schema() -> dict[str, object]:
    """The schema that the installed kas ships."""
    import kas

    schema: dict[str, object] = json.loads((Path(kas.__file__).parent / "schema-kas.json").read_text())
    return schema


def kas_findings() -> Iterator[str]:
    """What kas's schema finds, and repositories that are not pinned to a commit."""
    validator = Draft202012Validator(kas_schema())
    for path in kas_files():
        name = path.relative_to(ROOT)
        document = yaml.safe_load(path.read_text())
        for error in validator.iter_errors(document):
            yield f"{name}: {error.json_path}: {error.message}"
        for repository, entry in (document.get("repos") or {}).items():
            if entry and "url" in entry and len(str(entry.get("commit", ""))) != 40:
                yield f"{name}: {repository} is not pinned to a commit"


def parse_findings(changes: dict[str, str]) -> Iterator[str]:
    """What BitBake's parser finds in layer.conf and each recipe."""
    with tempfile.TemporaryDirectory() as folder:
        bitbake = BitBake(Path(folder))
        for path in recipes():
            for finding in bitbake.findings(path, changes):
                yield f"{path.relative_to(ROOT)}: {finding}"


def main() -> int:
    """Run the command; returns its exit status."""
    failed = 0
    for name, found in (
        ("oelint-adv", unexplained(oelint(), explanations(EXPLAINED.read_text()))),
        ("kas schema", kas_findings()),
        *(
            (f"BitBake, {machine}", parse_findings({"MACHINE": machine, "WHISPER_MODEL_SHA256": EXAMPLE_PIN}))
            for machine in MACHINES
        ),
    ):
        count = 0
        for line in found:
            print(line)
            count += 1
        print(f"lint-layer: {name}: {count} findings" if count else f"lint-layer: {name}: clean")
        failed += count
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
