SUMMARY = "Offline speech recognition on a Unix socket"
SUMMARY:${PN}-http = "REST, WebSocket and the OpenAI audio API of whisperd"
DESCRIPTION = "The daemon whisperd, which runs OpenAI's Whisper on ONNX Runtime, and its command whisperctl."
SECTION = "multimedia"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${WORKDIR}/LICENSE;md5=32c3fc2d8425205848e365616ad6b2da"

# The source is in this layer's own repository, which is two folders up.
FILESEXTRAPATHS:prepend := "${THISDIR}/../..:"

SRC_URI = "\
    file://LICENSE \
    file://service \
    file://run-ptest \
    file://pytest.ini \
    file://tests/data/sample.wav \
    file://tests/unit \
"

S = "${WORKDIR}/service"

require conf/include/whisper.inc

# service/pyproject.toml says why flit.
inherit python_flit_core systemd useradd ptest

# Nothing else is called so; the name alone must not match another product.
CVE_PRODUCT = "meta-whisper:whisperd"

# HTTP is a package of its own: whoever installs it has the socket, and aiohttp with all that it depends on.
PACKAGES =+ "${PN}-http"
SYSTEMD_PACKAGES = "${PN} ${PN}-http"
SYSTEMD_SERVICE:${PN} = "whisperd.socket whisperd.service"
SYSTEMD_SERVICE:${PN}-http = "whisperd-http.socket"

# The same as service/systemd/whisperd.sysusers makes on a PC: on a read-only root they have to be there before boot.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system whisper; --system whisperd"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir / --shell /sbin/nologin --gid whisperd --groups audio whisperd"

# service/systemd/files.list is the one list of what is installed beside the Python package, here as on a PC.
do_install:append() {
    DESTDIR=${D} PREFIX=${prefix} SYSCONFDIR=${sysconfdir} UNITDIR=${systemd_system_unitdir} \
        SYSUSERSDIR=${nonarch_libdir}/sysusers.d TMPFILESDIR=${nonarch_libdir}/tmpfiles.d \
        sh ${S}/install-system

    # The file names the daemon's default; an image with another model has to say so.
    if [ "${WHISPER_DEFAULT_MODEL}" != "base" ]; then
        configuration=${D}${sysconfdir}/whisperd/whisperd.toml
        sed -i 's,^# path = "${datadir}/whisper/models/base"$,path = "${datadir}/whisper/models/${WHISPER_DEFAULT_MODEL}",' \
            $configuration
        grep -q '^path = "${datadir}/whisper/models/${WHISPER_DEFAULT_MODEL}"$' $configuration \
            || bbfatal "whisperd.toml does not name the default model in the way that this recipe replaces"
    fi
}

# The tests that need no more than the daemon and pytest. The others want the converter, or hypothesis as it is today.
PTEST_TESTS = "cli client listen listen_cli listen_terminal live_client logs scheduler systemd"

do_install_ptest() {
    install -d ${D}${PTEST_PATH}/tests/data ${D}${PTEST_PATH}/tests/unit
    install -m 0644 ${WORKDIR}/pytest.ini ${D}${PTEST_PATH}
    install -m 0644 ${WORKDIR}/tests/data/sample.wav ${D}${PTEST_PATH}/tests/data
    install -m 0644 ${WORKDIR}/tests/unit/conftest.py ${WORKDIR}/tests/unit/fake_daemon.py ${D}${PTEST_PATH}/tests/unit
    for name in ${PTEST_TESTS}; do
        install -m 0644 ${WORKDIR}/tests/unit/test_$name.py ${D}${PTEST_PATH}/tests/unit
    done
}

FILES:${PN}-http += "\
    ${PYTHON_SITEPACKAGES_DIR}/whisperd/http \
    ${systemd_system_unitdir}/whisperd-http.socket \
"

FILES:${PN} += "\
    ${nonarch_libdir}/sysusers.d \
    ${nonarch_libdir}/tmpfiles.d \
"

CONFFILES:${PN} = "${sysconfdir}/whisperd/whisperd.toml"

# The parts of Python's library that the daemon imports, each of them a package here, then other projects'.
RDEPENDS:${PN} = "\
    python3-asyncio \
    python3-core \
    python3-crypt \
    python3-ctypes \
    python3-difflib \
    python3-fcntl \
    python3-io \
    python3-json \
    python3-logging \
    python3-numbers \
    python3-numpy \
    python3-onnxruntime \
    python3-profile \
    python3-pyalsaaudio \
    python3-sdnotify \
    python3-soundfile \
    python3-tokenizers \
    python3-tomli \
"

RDEPENDS:${PN}-http = "\
    ${PN} \
    python3-aiohttp \
    python3-datetime \
    python3-netclient \
"

RDEPENDS:${PN}-ptest += "\
    python3-pytest \
    python3-terminal \
"
