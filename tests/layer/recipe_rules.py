"""A plain reading of recipes: enough of BitBake's syntax to see what they fetch, with what checksum."""

from __future__ import annotations

import re
from pathlib import Path

#: What OpenEmbedded allows after "Upstream-Status:".
UPSTREAM_STATUS = re.compile(
    r"^Upstream-Status: (Pending|Submitted|Backport|Denied|Inappropriate|Inactive-Upstream)\b", re.MULTILINE
)

_ASSIGNMENT = re.compile(r'^(?P<name>[A-Za-z0-9_.:+\[\]${}-]+?)\s*(?:\?\?|\?|:|\+|\.)?=[+.]?\s*"(?P<value>.*)"$')
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


def assignments(recipe: Path) -> dict[str, str]:
    """Variables of a recipe and of what it requires; what is assigned to one variable in turn is joined."""
    text = _with_required(recipe).replace("\\\n", " ")
    values: dict[str, str] = {}
    for line in text.splitlines():
        if match := _ASSIGNMENT.match(line.strip()):
            name, value = match["name"], match["value"]
            values[name] = f"{values[name]} {value}" if name in values else value
    version = recipe.stem.partition("_")[2]
    values.setdefault("PV", version)
    return values


def sources(values: dict[str, str]) -> list[str]:
    """The entries of SRC_URI, with variables of the recipe itself put in."""
    return [_expand(entry, values) for entry in values.get("SRC_URI", "").split()]


def parameters(source: str) -> dict[str, str]:
    """``;name=value`` of one SRC_URI entry."""
    return dict(item.partition("=")[::2] for item in source.split(";")[1:])


def complaints(recipe: Path) -> list[str]:
    """What is wrong with how a recipe fetches; empty if nothing is."""
    values = assignments(recipe)
    text = _with_required(recipe)
    found = []
    if re.search(r"\[network\]", text):
        found.append("a task has network access")
    if "AUTOREV" in text:
        found.append("AUTOREV: the source is whatever is newest")
    entries = sources(values)
    if not entries:
        found.append("no SRC_URI")
    for entry in entries:
        found += _complaints_about(entry, values, recipe)
    return found


def _complaints_about(entry: str, values: dict[str, str], recipe: Path) -> list[str]:
    scheme, _, rest = entry.partition("://")
    options = parameters(entry)
    name = options.get("name")
    if scheme == "git":
        variable = f"SRCREV_{name}" if name else "SRCREV"
        found = []
        if not _COMMIT.match(values.get(variable, "")):
            found.append(f"{entry}: {variable} is no commit")
        if "branch" not in options or options.get("protocol") != "https" or "tag" in options:
            found.append(f"{entry}: wants branch=, protocol=https, and no tag=")
        return found
    if scheme in ("http", "https"):
        variable = f"SRC_URI[{name}.sha256sum]" if name else "SRC_URI[sha256sum]"
        return [] if _SHA256.match(values.get(variable, "")) else [f"{entry}: {variable} is no SHA-256"]
    if scheme == "file":
        path = recipe.parent / "files" / rest.split(";")[0]
        if not path.is_file():
            return [f"{entry}: not in files/"]
        if path.suffix == ".patch" and not UPSTREAM_STATUS.search(path.read_text("utf-8")):
            return [f"{entry}: the patch has no Upstream-Status"]
        return []
    return [f"{entry}: no rule for {scheme}"]


def _with_required(recipe: Path) -> str:
    text = recipe.read_text("utf-8")
    for name in re.findall(r"^require (\S+)$", text, re.MULTILINE):
        text += "\n" + (recipe.parent / name).read_text("utf-8")
    return text


def _expand(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)
