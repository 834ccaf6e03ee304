"""Recipes as BitBake's parser sees them: versions, files, users, dependencies, what a misconfiguration is told."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import whisperd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from layer import bitbake_parse, stdlib  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WHISPERD = ROOT / "recipes-core" / "whisperd" / f"whisperd_{whisperd.__version__}.bb"
IMAGE = ROOT / "recipes-core" / "images" / "whisper-image.bb"


@pytest.fixture(scope="module")
def bitbake(tmp_path_factory: pytest.TempPathFactory) -> bitbake_parse.BitBake:
    return bitbake_parse.BitBake(tmp_path_factory.mktemp("stand-in"))


def words(data: Any, name: str) -> list[str]:
    return (data.getVar(name) or "").split()


def test_the_recipe_has_the_daemons_version() -> None:
    assert [path.name for path in WHISPERD.parent.glob("*.bb")] == [WHISPERD.name]


def test_every_file_that_a_recipe_takes_from_this_repository_is_there(bitbake: bitbake_parse.BitBake) -> None:
    checked = 0
    for path in bitbake_parse.recipes():
        data = bitbake.recipe(path, {"WHISPER_MODEL_SHA256": "0" * 64})
        folders = [*(data.getVar("FILESEXTRAPATHS") or "").split(":")]
        folders += [str(path.parent / name) for name in (data.getVar("BP"), data.getVar("BPN"), "files")]
        for source in words(data, "SRC_URI"):
            if source.startswith("file://"):
                name = source.removeprefix("file://").partition(";")[0]
                assert any(folder and (Path(folder) / name).exists() for folder in folders), (path.name, name)
                checked += 1
    assert checked >= 12


def test_the_licences_checksums_are_those_of_the_files(bitbake: bitbake_parse.BitBake) -> None:
    for path, licence in (
        (WHISPERD, ROOT / "LICENSE"),
        (next(ROOT.glob("recipes-core/whisper-data/*.bb")), ROOT / "LICENSE"),
        (next(ROOT.glob("dynamic-layers/qt6-layer/*/whisper-gui/*.bb")), ROOT / "LICENSE"),
        (
            next(ROOT.glob("recipes-ml/whisper-models/whisper-model-base_*.bb")),
            ROOT / "recipes-ml" / "whisper-models" / "files" / "LICENSE.openai",
        ),
    ):
        md5 = hashlib.md5(licence.read_bytes(), usedforsecurity=False).hexdigest()
        assert f"md5={md5}" in bitbake.recipe(path).getVar("LIC_FILES_CHKSUM"), path.name


def test_the_daemon_depends_on_the_packages_of_the_modules_that_it_imports() -> None:
    assert set(stdlib.needed(stdlib.imports()).values()) == stdlib.rdepends(WHISPERD)


def test_http_depends_on_what_it_alone_imports() -> None:
    assert {"${PN}"} | stdlib.needed_by_http() == stdlib.rdepends(WHISPERD, "${PN}-http")
    assert "python3-aiohttp" not in stdlib.rdepends(WHISPERD), "who does not install it does without"


def test_http_is_a_package_of_its_own(bitbake: bitbake_parse.BitBake) -> None:
    data = bitbake.recipe(WHISPERD)
    packages = words(data, "PACKAGES")
    assert packages.index("whisperd-http") < packages.index("whisperd"), "the first that wants a file gets it"
    assert words(data, "SYSTEMD_PACKAGES") == ["whisperd", "whisperd-http"]
    assert words(data, "SYSTEMD_SERVICE:whisperd-http") == ["whisperd-http.socket"]
    files = words(data, "FILES:whisperd-http")
    assert any(name.endswith("/whisperd/http") for name in files)
    assert any(name.endswith("/whisperd-http.socket") for name in files)


def test_a_module_that_nobody_packages_is_noticed() -> None:
    with pytest.raises(KeyError, match="torch"):
        stdlib.needed({"os", "torch"})


def test_a_module_that_is_in_another_package_than_the_table_says_is_noticed() -> None:
    manifest = '{"core": {"files": ["${libdir}/python${PYTHON_MAJMIN}/json"]}}'
    assert list(stdlib.disagreements(manifest, {"json"})) == ["json is in python3-core, not in python3-json"]


def test_the_packages_tests_import_only_what_is_installed_with_them(bitbake: bitbake_parse.BitBake) -> None:
    data = bitbake.recipe(WHISPERD)
    files = [ROOT / "tests" / "unit" / f"test_{name}.py" for name in words(data, "PTEST_TESTS")]
    files.append(ROOT / "tests" / "unit" / "fake_daemon.py")
    assert len(files) >= 6
    beside = {"whisperd", "pytest", "fake_daemon", "numpy"}
    for path in files:
        for name in stdlib_and_others(path):
            assert name in beside or name in sys.stdlib_module_names, (path.name, name)
    assert "python3-pytest" in words(data, "RDEPENDS:whisperd-ptest")


def stdlib_and_others(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_users_and_groups_are_those_of_sysusers(bitbake: bitbake_parse.BitBake) -> None:
    """The image has them from the recipe, a PC from whisperd.sysusers."""
    data = bitbake.recipe(WHISPERD)
    lines = (ROOT / "service" / "systemd" / "whisperd.sysusers").read_text().splitlines()
    users = {line.split()[1] for line in lines if line.startswith("u ")}
    groups = {line.split()[1] for line in lines if line.startswith("g ")} | users
    members = {tuple(line.split()[1:3]) for line in lines if line.startswith("m ")}
    added = {part.split()[-1] for part in data.getVar("GROUPADD_PARAM:whisperd").split(";")}
    assert added == groups
    useradd = data.getVar("USERADD_PARAM:whisperd").split()
    assert users == {useradd[-1]}
    supplementary = useradd[useradd.index("--groups") + 1].split(",")
    assert {(useradd[-1], group) for group in supplementary} == members


def test_the_units_are_those_that_the_install_step_installs(bitbake: bitbake_parse.BitBake) -> None:
    listed = (ROOT / "service" / "systemd" / "files.list").read_text()
    units = set(re.findall(r"\$\{UNITDIR\}/(\S+)", listed))
    data = bitbake.recipe(WHISPERD)
    started = {
        name for package in ("whisperd", "whisperd-http") for name in words(data, f"SYSTEMD_SERVICE:{package}")
    }
    assert started == units


def test_the_recipe_installs_by_the_install_step_and_nothing_of_its_own(bitbake: bitbake_parse.BitBake) -> None:
    """One list for both: what the recipe puts beside the Python package, it has from install-system."""
    body = bitbake.recipe(WHISPERD).getVar("do_install")
    assert "/install-system" in body
    for variable in ("DESTDIR", "PREFIX", "SYSCONFDIR", "UNITDIR", "SYSUSERSDIR", "TMPFILESDIR"):
        assert f"{variable}=" in body
    code = [line.strip() for line in body.splitlines() if not line.strip().startswith("#")]
    assert not [line for line in code if re.match(r"(install|cp|mv|ln|rm) ", line)]


def test_the_configuration_is_a_conffile_where_the_install_step_puts_it(bitbake: bitbake_parse.BitBake) -> None:
    listed = (ROOT / "service" / "systemd" / "files.list").read_text()
    configuration = re.findall(r"\$\{SYSCONFDIR\}(/\S+)", listed)
    assert words(bitbake.recipe(WHISPERD), "CONFFILES:whisperd") == [f"/etc{path}" for path in configuration]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"MACHINE": "qemux86-64"},
            "MACHINE is 'qemux86-64', but this image is made for raspberrypi4-64 or qemuarm64",
        ),
        ({"DISTRO_FEATURES": "alsa"}, "systemd is not the init manager"),
        ({"VIRTUAL-RUNTIME_init_manager": "sysvinit"}, 'set INIT_MANAGER = "systemd"'),
        ({"WHISPER_DEFAULT_MODEL": "huge"}, "WHISPER_DEFAULT_MODEL is 'huge'"),
    ],
)
def test_a_misconfigured_image_is_skipped_with_one_sentence(
    bitbake: bitbake_parse.BitBake, changes: dict[str, str], sentence: str
) -> None:
    reason = bitbake.skip_reason(IMAGE, changes)
    assert reason is not None
    assert sentence in reason
    assert "\n" not in reason


@pytest.mark.parametrize("machine", ["raspberrypi4-64", "qemuarm64"])
def test_a_good_image_is_not_skipped(bitbake: bitbake_parse.BitBake, machine: str) -> None:
    assert bitbake.skip_reason(IMAGE, {"MACHINE": machine}) is None


def test_only_the_board_has_the_data_partition(bitbake: bitbake_parse.BitBake) -> None:
    board = bitbake.recipe(IMAGE, {"MACHINE": "raspberrypi4-64"})
    qemu = bitbake.recipe(IMAGE, {"MACHINE": "qemuarm64"})
    assert "whisper-data" in words(board, "IMAGE_INSTALL")
    assert board.getVar("WKS_FILE") == "whisper-ab.wks"
    assert (ROOT / "wic" / board.getVar("WKS_FILE")).is_file()
    assert "whisper-data" not in words(qemu, "IMAGE_INSTALL")
    assert "read-only-rootfs" in words(board, "IMAGE_FEATURES")
    assert "debug-tweaks" not in words(board, "IMAGE_FEATURES")


def test_a_fault_of_a_recipe_is_found(bitbake: bitbake_parse.BitBake, tmp_path: Path) -> None:
    recipe = tmp_path / "faulty_1.0.bb"
    for text, complaint in (
        ('FILES:${PN} += "${WHISPER_NOWHERE}/x"\n', "WHISPER_NOWHERE"),
        ("inherit nothing_of_that_name\n", "nothing_of_that_name"),
        ("do_install() {\n    if true; then\n}\n", ""),
        ("python do_thing() {\n    if x\n}\naddtask thing\n", "SyntaxError"),
        ('S = "${@undefined_function(d)}"\n', "undefined_function"),
    ):
        recipe.write_text(f'SUMMARY = "x"\n{text}')
        found = list(bitbake.findings(recipe))
        assert found, text
        assert complaint in " ".join(found)
