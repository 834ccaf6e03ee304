"""Which packages of Kirkstone's split Python the daemon needs: from its imports to the recipe's RDEPENDS.

    python -m layer.stdlib python3-manifest.json

checks the table below against the manifest by which OE-core splits Python, and the recipe against the table.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "service" / "whisperd"

#: Package of Kirkstone of each module that the daemon imports, where that is not python3-core.
STDLIB = {
    "asyncio": "python3-asyncio",
    "concurrent": "python3-asyncio",
    "ctypes": "python3-ctypes",
    "dataclasses": "python3-profile",  # so it is in Kirkstone's manifest
    "datetime": "python3-datetime",
    "difflib": "python3-difflib",
    "fcntl": "python3-fcntl",
    "fractions": "python3-numbers",
    "hashlib": "python3-crypt",
    "hmac": "python3-netclient",
    "http": "python3-netclient",
    "ipaddress": "python3-io",
    "json": "python3-json",
    "logging": "python3-logging",
    "secrets": "python3-netclient",
    "socket": "python3-io",
    "tempfile": "python3-io",
    "termios": "python3-io",
}
#: Recipes of the other projects' modules. tomli stands in for tomllib, which Python has from 3.11.
OTHERS = {
    "aiohttp": "python3-aiohttp",
    "alsaaudio": "python3-pyalsaaudio",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime",
    "sdnotify": "python3-sdnotify",
    "soundfile": "python3-soundfile",
    "tokenizers": "python3-tokenizers",
    "tomli": "python3-tomli",
}
#: Folder of the package's modules that are a package of the recipe by themselves, ${PN}-http.
HTTP = PACKAGE / "http"
#: Imported only where they are there: from 3.11 on, and by whisperctl on a PC.
OPTIONAL = frozenset({"tomllib", "rich"})
#: What a package of Python cannot be without, on which the class of the recipe makes all depend.
CORE = "python3-core"


def imports(folder: Path = PACKAGE, without: Path | None = HTTP) -> set[str]:
    """Top-level names of all modules that the package imports, its own left out, as is what is in `without`."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        if without is not None and path.is_relative_to(without):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return found - {PACKAGE.name}


def needed_by_http() -> set[str]:
    """Packages of the modules that only ${PN}-http imports."""
    return set(needed(imports(HTTP, None)).values()) - set(needed(imports()).values())


def needed(modules: set[str]) -> dict[str, str]:
    """Module to package, of all modules that are not optional.

    Raises:
        KeyError: for a module that is neither Python's nor known here.
    """
    packages = {}
    for module in sorted(modules - OPTIONAL):
        if module in OTHERS:
            packages[module] = OTHERS[module]
        elif module in sys.stdlib_module_names:
            packages[module] = STDLIB.get(module, CORE)
        else:
            raise KeyError(module)
    return packages


def rdepends(recipe: Path, package: str = "${PN}") -> set[str]:
    """The RDEPENDS of a recipe's package, the main one if none is named."""
    variable = re.escape(f"RDEPENDS:{package}")
    found = re.search(rf'^{variable} \+?= "(.*?)"', recipe.read_text(), re.MULTILINE | re.DOTALL)
    return set(found[1].replace("\\", " ").split()) if found else set()


def in_manifest(module: str, manifest: dict[str, dict[str, list[str]]]) -> str:
    """Package of a module by OE-core's manifest: what is named nowhere, and not built in, is in python3-misc."""
    base = r"^\$\{(lib|)dir\}/python\$\{PYTHON_MAJMIN\}/"
    pattern = re.compile(rf"{base}({module}(\.py)?(/.*)?|lib-dynload/{module}\..*\.so)$")
    hits = [name for name, entry in manifest.items() if any(map(pattern.match, entry["files"]))]
    hits = [name for name in hits if name not in ("tests", "dev", "staticdev")]
    if hits:
        return f"python3-{hits[0]}"
    return CORE if module in sys.builtin_module_names else "python3-misc"


def disagreements(manifest_text: str, modules: set[str]) -> Iterator[str]:
    """Where the table differs from the manifest, for each of Python's own modules that is imported."""
    text = manifest_text.partition("# EOC")[2] or manifest_text
    manifest = json.loads(text)
    for module, package in needed(modules).items():
        if module not in OTHERS and (really := in_manifest(module, manifest)) != package:
            yield f"{module} is in {really}, not in {package}"


def main() -> int:
    """Run the command; returns its exit status."""
    modules = imports()
    wrong = list(disagreements(Path(sys.argv[1]).read_text(), modules | imports(HTTP, None)))
    recipe = next((ROOT / "recipes-core" / "whisperd").glob("whisperd_*.bb"))
    wrong += [
        f"{recipe.name} does not depend on {package}, which has {module}"
        for module, package in needed(modules).items()
        if package not in rdepends(recipe)
    ]
    wrong += [
        f"{recipe.name} does not depend on {package} for HTTP"
        for package in needed_by_http() - rdepends(recipe, "${PN}-http")
    ]
    for line in wrong:
        print(line)
    print(f"{len(needed(modules))} modules, {len(set(needed(modules).values()))} packages")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
