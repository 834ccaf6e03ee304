# Part of scripts/check-layer: packages made by BitBake with OE-core's own classes, but none of its recipes, which would
# have to be compiled first. What a package depends on is stood in for by empty recipes, native tools by this machine's.
# shellcheck shell=bash

# What is made for every machine, and whisperd, which is Python only.
PACKAGED=(silero-vad whisper-model-base whisper-model-tiny-en whisper-data whisperd)

packaging_tools_missing() {
    local tool
    for tool in pseudo dpkg-deb unzip python3 groupadd useradd; do
        command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || printf ' %s' "$tool"
    done
    [ -n "$(find /usr/lib -name libpseudo.so 2>/dev/null | head -n 1)" ] || printf ' libpseudo.so'
}

# Kirkstone's versions of the two Python packages that build and install wheels.
packaging_python() {
    local lib=$CHECK_DIR/packages/lib
    [ -d "$lib/installer" ] || "${CHECK_PYTHON:-python3}" -m pip install -q --disable-pip-version-check --no-deps \
        --target "$lib" flit_core==3.7.1 installer==0.5.1 >"$CHECK_DIR/logs/pip.log" 2>&1
}

stand_in_layer() {
    local folder=$CHECK_DIR/packages/stand-in lib
    mkdir -p "$folder/conf" "$folder/recipes" "$CHECK_DIR/packages/bin"
    cat >"$folder/conf/layer.conf" <<'END'
BBPATH .= ":${LAYERDIR}"
BBFILES += "${LAYERDIR}/recipes/*.bb"
BBFILE_COLLECTIONS += "stand-in"
BBFILE_PATTERN_stand-in = "^${LAYERDIR}/"
BBFILE_PRIORITY_stand-in = "5"
LAYERSERIES_COMPAT_stand-in = "kirkstone"
END
    cat >"$folder/recipes/stand-in.bb" <<END
SUMMARY = "Stands in for what this layer's packages depend on"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
PROVIDES += "\\
    base-files base-passwd python3 shadow shadow-sysroot systemd virtual/libc \\
    virtual/\${TARGET_PREFIX}binutils virtual/\${TARGET_PREFIX}gcc virtual/\${TARGET_PREFIX}compilerlibs \\
"
do_install() {
    install -d \${D}\${sysconfdir}
    echo 'root:x:0:0:root:/root:/bin/sh' > \${D}\${sysconfdir}/passwd
    printf '%s\\n' 'root:x:0:' 'mail:x:8:' 'audio:x:29:' > \${D}\${sysconfdir}/group
    printf '%s\\n' 'SYS_UID_MIN 101' 'SYS_UID_MAX 999' 'SYS_GID_MIN 101' 'SYS_GID_MAX 999' > \${D}\${sysconfdir}/login.defs
}
SYSROOT_DIRS += "\${sysconfdir}"
RPROVIDES:\${PN} = "\\
    base-files base-passwd e2fsprogs-e2fsck kernel-module-overlay ptest-runner shadow systemd \\
    libsndfile1 $(grep -rhoE '\bpython3-[a-z0-9-]+' "$ROOT"/recipes-*/*/*.bb "$ROOT"/recipes-*/*/*.inc \
        | grep -v native | sort -u | tr '\n' ' ') \\
"
END
    cat >"$folder/recipes/pseudo-native.bb" <<'END'
SUMMARY = "Stands in for native tools: this machine's own are used"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
PROVIDES += "virtual/fakeroot-native shadow-native"
inherit native
deltask do_fetch
deltask do_unpack
deltask do_patch
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"
END
    cat >"$CHECK_DIR/packages/bin/nativepython3" <<END
#!/bin/sh
# This machine's Python, with what python3-flit-core-native and python3-installer-native would bring.
PYTHONPATH=$CHECK_DIR/packages/lib
export PYTHONPATH
if [ "\$1 \$2" = "-m installer" ]; then shift 2; exec python3 $ROOT/scripts/layer/install_wheel.py "\$@"; fi
exec python3 "\$@"
END
    for tool in groupadd useradd; do
        cat >"$CHECK_DIR/packages/bin/$tool" <<END
#!/bin/bash
# OE's own takes --root without a chroot; this machine's calls that --prefix.
exec /usr/sbin/$tool "\${@/#--root/--prefix}"
END
    done
    chmod +x "$CHECK_DIR"/packages/bin/*
}

# $1: a pattern of recipes that are left out
packages_folder() {
    local lib
    stand_in_layer
    PATH=$CHECK_DIR/packages/bin:$PATH
    lib=$(dirname "$(find /usr/lib -name libpseudo.so 2>/dev/null | head -n 1)")
    build_folder packages qemuarm64
    cat >conf/bblayers.conf <<END
LCONF_VERSION = "7"
BBPATH = "\${TOPDIR}"
BBFILES ?= ""
BBLAYERS = "$LAYERS_DIR/poky/meta $CHECK_DIR/packages/stand-in $ROOT"
END
    cat >conf/local.conf <<END
MACHINE = "qemuarm64"
DISTRO = "nodistro"
CONF_VERSION = "2"
INIT_MANAGER = "systemd"
DISTRO_FEATURES:append = " ptest"
PACKAGE_CLASSES = "package_deb"
CONNECTIVITY_CHECK_URIS = ""
BB_NO_NETWORK = "1"
SANITY_TESTED_DISTROS = ""
DL_DIR = "$DL_DIR"
WHISPER_MODEL_DIR = "$WHISPER_MODEL_DIR"
# Of OE-core its classes only.
BBMASK = "$LAYERS_DIR/poky/meta/recipes- /recipes-core/images /recipes-core/packagegroups ${1:-}"
LAYERDEPENDS_meta-whisper:remove = "openembedded-layer meta-python"
PREFERRED_PROVIDER_virtual/\${TARGET_PREFIX}binutils:forcevariable = "stand-in"
PREFERRED_PROVIDER_virtual/\${TARGET_PREFIX}gcc:forcevariable = "stand-in"
PREFERRED_PROVIDER_virtual/\${TARGET_PREFIX}compilerlibs:forcevariable = "stand-in"
PREFERRED_PROVIDER_virtual/libc:forcevariable = "stand-in"
ASSUME_PROVIDED += "\\
    debianutils-native dpkg-native dwarfsrcfiles-native file-native patch-native patch-replacement-native \\
    python3-cffi-native python3-flit-core-native python3-installer-native python3-native python3-numpy-native \\
    python3-setuptools-native python3-wheel-native quilt-native systemd-systemctl-native unzip-native \\
    bzip2-native lz4-native rpm-native xz-native zstd-native \\
    ninja-native openssl-native zlib-native cmake-native python3-numpy numpy \\
"
HOSTTOOLS += "pseudo dpkg-deb unzip groupadd useradd nativepython3"
# The dependencies of files would need a tool of rpm's.
SKIP_FILEDEPS = "1"
PATCHTOOL = "patch"
# The packages are looked into and thrown away: compressing models takes minutes.
DPKG_BUILDCMD = "dpkg-deb -Znone"
FAKEROOTCMD = "/usr/bin/pseudo"
PSEUDO_SYSROOT = "/."
PSEUDO_PASSWD = "\${STAGING_DIR_TARGET}:/"
FAKEROOTBASEENV = "PSEUDO_BINDIR=/usr/bin PSEUDO_LIBDIR=$lib PSEUDO_PREFIX=/usr PSEUDO_IGNORE_PATHS=\${@oe.path.canonicalize(d.getVar('PSEUDO_IGNORE_PATHS'))} PSEUDO_DISABLED=1 PYTHONDONTWRITEBYTECODE=1"
FAKEROOTENV = "PSEUDO_BINDIR=/usr/bin PSEUDO_LIBDIR=$lib PSEUDO_PREFIX=/usr PSEUDO_LOCALSTATEDIR=\${PSEUDO_LOCALSTATEDIR} PSEUDO_PASSWD=\${PSEUDO_PASSWD} PSEUDO_NOSYMLINKEXP=1 PSEUDO_IGNORE_PATHS=\${@oe.path.canonicalize(d.getVar('PSEUDO_IGNORE_PATHS'))} PSEUDO_DISABLED=0"
END
}

check_unpack() {
    local recipe missing
    missing=$(packaging_tools_missing)
    if [ -n "$missing" ]; then result "NOT RUN" "unpack: this machine lacks$missing"; return; fi
    packages_folder
    for recipe in whisperd whisper-data silero-vad whisper-model-base whisper-model-tiny-en python3-soundfile \
        python3-tokenizers onnxruntime; do
        if ! bitbake -c fetch "$recipe" >"$CHECK_DIR/logs/fetch-$recipe.log" 2>&1; then
            result "NOT RUN" "unpack $recipe: its sources cannot be had here, see logs/fetch-$recipe.log"
        elif logged "patch-$recipe" bitbake -c patch "$recipe"; then
            result PASS "fetch, unpack, patch: $recipe"
        else
            result FAIL "fetch, unpack, patch: $recipe, see logs/patch-$recipe.log"
        fi
    done
}

check_package() {
    local missing python=${CHECK_PYTHON:-$VENV/bin/python}
    missing=$(packaging_tools_missing)
    if [ -n "$missing" ]; then result "NOT RUN" "package: this machine lacks$missing"; return; fi
    if ! packaging_python; then result "NOT RUN" "package: pip cannot get flit_core and installer"; return; fi
    packages_folder "/recipes-ml/python3- /recipes-ml/onnxruntime /recipes-ml/cmake-onnxruntime"
    if ! logged package bitbake "${PACKAGED[@]}"; then
        result FAIL "package: see logs/package.log"
        return
    fi
    if grep -E '^(WARNING|ERROR)' "$CHECK_DIR/logs/package.log" | grep -v 'BBFILE_PATTERN_core'; then
        result FAIL "package: made, but with the warnings above"
    else
        result PASS "package: ${PACKAGED[*]}, without a warning of the package checks"
    fi
    if (cd "$ROOT/scripts" && logged package-files python3 -m layer.package_files "$CHECK_DIR/packages"); then
        sed 's/^/    /' "$CHECK_DIR/logs/package-files.log"
        result PASS "package: the files are those that the daemon needs"
    else
        result FAIL "package: see logs/package-files.log"
    fi
    if ! "$python" -c 'import numpy, onnxruntime, tokenizers, soundfile, sdnotify, pytest' 2>/dev/null; then
        result "NOT RUN" "package: running what was packaged: $python lacks the dependencies; set CHECK_PYTHON"
    elif logged package-run "$ROOT/scripts/layer/run-packages" "$python" "$CHECK_DIR/packages"; then
        grep -E '^(PASS|SKIP|model)' "$CHECK_DIR/logs/package-run.log" | tail -n 4 | sed 's/^/    /'
        result PASS "package: $(grep -c '^PASS' "$CHECK_DIR/logs/package-run.log") tests of whisperd-ptest, from the packages"
    else
        result FAIL "package: see logs/package-run.log"
    fi
}
