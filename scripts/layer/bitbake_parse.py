"""Parse and expand the layer with BitBake's own parser, without any other layer.

The package registry has BitBake's library (`bb`, in the distribution bitbake-setup) but no recipes or classes.
What this layer takes from OE-core is stood in for: a bitbake.conf of paths, and classes that are empty but for
what recipes call while they are parsed. So this proves syntax, expansion, anonymous Python, tasks and shell code,
and that no variable is left unknown; that OE-core's classes do what is expected is proven by scripts/check-layer.
"""

from __future__ import annotations

import logging
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_BITBAKE_CONF = """
MACHINE ?= "raspberrypi4-64"
DISTRO_FEATURES ?= "alsa opengl ptest systemd"
VIRTUAL-RUNTIME_init_manager ?= "systemd"
OVERRIDES = "class-target:linux:aarch64:${MACHINE}:pn-${PN}"
FILE_DIRNAME = "${@os.path.dirname(d.getVar('FILE'))}"
THISDIR = "${@os.path.dirname(d.getVar('FILE', False))}"
PN = "${@bb.parse.vars_from_file(d.getVar('FILE'), d)[0]}"
PV = "${@bb.parse.vars_from_file(d.getVar('FILE'), d)[1] or '1.0'}"
BPN = "${PN}"
BP = "${BPN}-${PV}"
P = "${PN}-${PV}"
HOME = "/home/build"
TOPDIR = "/build"
COREBASE = "/layers/poky"
COMMON_LICENSE_DIR = "${COREBASE}/meta/files/common-licenses"
TMPDIR = "${TOPDIR}/tmp"
DL_DIR = "${TOPDIR}/downloads"
WORKDIR = "${TMPDIR}/work/${PN}/${PV}"
S = "${WORKDIR}/${BP}"
B = "${S}"
D = "${WORKDIR}/image"
DEPLOY_DIR_IMAGE = "${TMPDIR}/deploy/images/${MACHINE}"
prefix = "/usr"
base_prefix = ""
bindir = "${prefix}/bin"
sbindir = "${prefix}/sbin"
libdir = "${prefix}/lib"
includedir = "${prefix}/include"
nonarch_libdir = "${prefix}/lib"
datadir = "${prefix}/share"
sysconfdir = "/etc"
localstatedir = "/var"
systemd_system_unitdir = "/lib/systemd/system"
PYTHON_PN = "python3"
PYTHON = "${STAGING_BINDIR_NATIVE}/python3-native/python3"
PYTHON_DIR = "python3.10"
PYTHON_SITEPACKAGES_DIR = "${libdir}/${PYTHON_DIR}/site-packages"
PTEST_PATH = "${libdir}/${BPN}/ptest"
STAGING_DIR_NATIVE = "${WORKDIR}/recipe-sysroot-native"
STAGING_BINDIR_NATIVE = "${STAGING_DIR_NATIVE}/usr/bin"
STAGING_LIBDIR = "${WORKDIR}/recipe-sysroot/usr/lib"
STAGING_INCDIR = "${WORKDIR}/recipe-sysroot/usr/include"
STAGING_BINDIR_TOOLCHAIN = "${STAGING_BINDIR_NATIVE}/aarch64-poky-linux"
STAGING_DATADIR = "${WORKDIR}/recipe-sysroot/usr/share"
STAGING_LIBDIR_NATIVE = "${STAGING_DIR_NATIVE}/usr/lib"
RECIPE_SYSROOT = "${WORKDIR}/recipe-sysroot"
RECIPE_SYSROOT_NATIVE = "${STAGING_DIR_NATIVE}"
BUILD_SYS = "x86_64-linux"
BUILD_CC = "gcc"
BUILD_CXX = "g++"
TARGET_PREFIX = "aarch64-poky-linux-"
HOST_PREFIX = "${TARGET_PREFIX}"
TARGET_ARCH = "aarch64"
HOST_ARCH = "aarch64"
TARGET_SYS = "aarch64-poky-linux"
HOST_SYS = "${TARGET_SYS}"
MACHINE_ARCH = "raspberrypi4_64"
TUNE_CCARGS = "-mcpu=cortex-a72+crc"
CFLAGS = "-O2"
CXXFLAGS = "-O2"
LDFLAGS = "-Wl,-O1"
PARALLEL_MAKE = "-j2"
PACKAGE_BEFORE_PN ?= ""
PACKAGES = "${PN}-dbg ${PN}-staticdev ${PN}-dev ${PN}-doc ${PN}-locale ${PACKAGE_BEFORE_PN} ${PN}"
FILES:${PN} = "${bindir}/* ${libdir}/lib*${SOLIBS}"
FILES:${PN}-dev = "${includedir} ${libdir}/lib*${SOLIBSDEV}"
SOLIBS = ".so.*"
SOLIBSDEV = ".so"
EXTENDPKGV = "${PV}-r0"
CORE_IMAGE_EXTRA_INSTALL ?= ""
PREMIRRORS ?= ""
"""

_BASE_CLASS = "addtask fetch\naddtask unpack after do_fetch\naddtask configure after do_unpack\n"
_BASE_CLASS += "addtask compile after do_configure\naddtask install after do_compile\n"

_PYPI_CLASS = """
def pypi_src_uri(d):
    name = d.getVar('PYPI_PACKAGE')
    return 'https://registry.invalid/packages/source/%s/%s/%s' % (name[0], name, d.getVar('PYPI_ARCHIVE_NAME'))
PYPI_PACKAGE ?= "${@d.getVar('BPN').replace('python3-', '')}"
PYPI_ARCHIVE_NAME ?= "${PYPI_PACKAGE}-${PV}.tar.gz"
PYPI_SRC_URI ?= "${@pypi_src_uri(d)}"
SECTION = "devel/python"
SRC_URI:prepend = "${PYPI_SRC_URI} "
S = "${WORKDIR}/${PYPI_PACKAGE}-${PV}"
"""

#: Kirkstone's classes that recipes may inherit, and what stands in for each. A name that is not here is an error.
_CLASSES = {
    "base": _BASE_CLASS,
    "pypi": _PYPI_CLASS,
    "cmake": 'OECMAKE_GENERATOR ?= "Ninja"\nOECMAKE_SOURCEPATH ?= "${S}"\nB = "${WORKDIR}/build"\n'
    'OECMAKE_CXX_FLAGS ?= "${CXXFLAGS}"\nOECMAKE_C_FLAGS ?= "${CFLAGS}"\n',
    # meta-qt6's, for dynamic-layers/qt6-layer: BitBake parses that only where meta-qt6 is, and this always.
    "qt6-cmake": 'inherit cmake\nQT6_INSTALL_QMLDIR ?= "${libdir}/qml"\n',
    "ptest": 'PACKAGES =+ "${PN}-ptest"\n',
    "core-image": 'IMAGE_FEATURES ?= ""\nIMAGE_INSTALL ?= "packagegroup-core-boot"\n',
    **dict.fromkeys(
        (
            *("allarch", "features_check", "kernel-arch", "native", "packagegroup", "pkgconfig", "python3-dir"),
            *("python3native", "python3targetconfig", "python_flit_core", "python_pep517", "setuptools3"),
            *("setuptools3-base", "systemd", "useradd", "cross-canadian", "cmake-native", "image-artifact-names"),
        ),
        "",
    ),
}

#: Variables in which a name that BitBake does not know would go unnoticed until a build fails, or worse, does not.
_RESOLVED = re.compile(
    r"^(FILESEXTRAPATHS|SRC_URI|S|B|LICENSE|LIC_FILES_CHKSUM|DEPENDS|PACKAGES|PREMIRRORS|FILES:.*|R(DEPENDS|RECOMMENDS|PROVIDES):.*|"
    r"CONFFILES:.*|SYSTEMD_SERVICE:.*|USERADD_PARAM:.*|GROUPADD_PARAM:.*|EXTRA_OECMAKE|IMAGE_INSTALL|WKS_FILE|"
    r"BBFILES|BBFILES_DYNAMIC|LAYERDEPENDS_.*|do_\w+|\w+_ptest)$"
)


class BitBake:
    """BitBake's library, and the configuration that recipes are parsed in."""

    def __init__(self, stand_in: Path, layer: Path = ROOT) -> None:
        """`stand_in`: an empty folder for what stands in for OE-core."""
        # siggen wants the hash equivalence client, which the distribution lacks and parsing does not use.
        for name in ("hashserv", "hashserv.client"):
            sys.modules.setdefault(name, types.ModuleType(name))
        import bb
        import bb.codeparser
        import bb.data
        import bb.parse

        self._bb: Any = bb
        self._layer = layer
        (stand_in / "conf").mkdir()
        (stand_in / "conf" / "bitbake.conf").write_text(_BITBAKE_CONF)
        (stand_in / "classes").mkdir()
        for name, text in _CLASSES.items():
            (stand_in / "classes" / f"{name}.bbclass").write_text(text or "# empty\n")
        self._data: Any = bb.data.init()
        self._data.setVar("BBPATH", str(stand_in))
        self._data.setVar("BB_ORIGENV", bb.data.init())
        self._data.setVar("LAYERDIR", str(layer))
        self._data = bb.parse.handle("conf/bitbake.conf", self._data, True)
        self._data = bb.parse.handle(str(layer / "conf" / "layer.conf"), self._data, True)
        self._data.setVar("TMPDIR", str(stand_in / "tmp"))
        bb.parse.init_parser(self._data)

    def recipe(self, path: Path, changes: dict[str, str] | None = None) -> Any:
        """Parse a recipe with variables changed as local.conf would; returns its data, expanded as for a build.

        Raises:
            bb.BBHandledException, bb.parse.ParseError, bb.parse.SkipRecipe: what BitBake says of it.
        """
        data = self._data.createCopy()
        for name, value in (changes or {}).items():
            data.setVar(name, value)
        data.setVar("FILE", str(path))
        data.setVar(
            "__bbclasstype", "recipe"
        )  # which folders of classes are searched; set while parsing configuration
        found = self._bb.parse.handle(str(path), data)
        return found[""] if isinstance(found, dict) else found

    def skip_reason(self, path: Path, changes: dict[str, str] | None = None) -> str | None:
        """Why BitBake leaves a recipe out, or None."""
        data = self.recipe(path, changes)
        reason = data.getVar("__SKIPPED", False)
        return str(reason) if reason else None

    def findings(self, path: Path, changes: dict[str, str] | None = None) -> Iterator[str]:
        """What is wrong with a recipe, in sentences."""
        try:
            data = self.recipe(path, changes)
            for name in sorted(data.keys()):
                if data.getVarFlag(name, "func", False):
                    self._parse_code(data, name)
                value = data.getVar(name)
                if _RESOLVED.match(name) and isinstance(value, str):
                    for unknown in sorted(set(re.findall(r"\$\{([A-Z][\w./-]*)\}", value))):
                        if not self._is_shell(data, name, unknown):
                            yield f"{name}: ${{{unknown}}} is not known"
        except Exception as error:  # whatever it is that BitBake cannot parse
            yield f"{type(error).__name__}: {error}"

    def _parse_code(self, data: Any, name: str) -> None:
        body = data.getVar(name, expand=not data.getVarFlag(name, "python", False))
        if not body:
            return
        log = logging.getLogger("BitBake.Lint")
        if data.getVarFlag(name, "python", False):
            # The body of a task is indented, a function of its own ("def") is not.
            compile(body if body.lstrip("\n")[:1].strip() else f"if True:\n{body}", name, "exec")
        else:
            self._bb.codeparser.ShellParser(name, log).parse_shell(body)

    @staticmethod
    def _is_shell(data: Any, name: str, unknown: str) -> bool:
        """A shell function's own variable, set in it."""
        body = data.getVar(name) if data.getVarFlag(name, "func", False) else ""
        return re.search(rf"\b{re.escape(unknown)}=", body) is not None


def recipes(layer: Path = ROOT) -> list[Path]:
    """Every recipe of the layer."""
    return sorted([*layer.glob("recipes-*/*/*.bb"), *layer.glob("dynamic-layers/*/recipes-*/*/*.bb")])
