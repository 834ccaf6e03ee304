SUMMARY = "Speech recognition for Qt 6: a QML module, and a program for a car's screen"
DESCRIPTION = "The QML module Whisper talks to whisperd; whisper-gui shows it, on the bare display with EGLFS."
SECTION = "multimedia"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${WORKDIR}/LICENSE;md5=32c3fc2d8425205848e365616ad6b2da"

# The source is in this layer's own repository, which is four folders up.
FILESEXTRAPATHS:prepend := "${THISDIR}/../../../..:"

# qttools has the CMake side of the translations, qttools-native the tool.
DEPENDS = "\
    qtbase \
    qtdeclarative \
    qtdeclarative-native \
    qttools \
    qttools-native \
"

SRC_URI = "\
    file://LICENSE \
    file://service/qt \
"

S = "${WORKDIR}/service/qt"

inherit qt6-cmake features_check systemd useradd

# EGLFS draws with OpenGL ES.
REQUIRED_DISTRO_FEATURES = "opengl systemd"

# Nothing else is called so; the name alone must not match another product.
CVE_PRODUCT = "meta-whisper:whisper-gui"

PACKAGE_BEFORE_PN = "${PN}-qmlmodule"

SYSTEMD_SERVICE:${PN} = "whisper-gui.service"

# Groups of other recipes are made here too: which of them is installed first is not said.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system whisper; --system render; --system whisper-gui"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir / --shell /sbin/nologin --gid whisper-gui --groups whisper,video,render,input whisper-gui"

do_install:append() {
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/systemd/whisper-gui.service ${D}${systemd_system_unitdir}
}

# For a GUI of one's own, which needs the module and not the program.
SUMMARY:${PN}-qmlmodule = "Speech recognition for Qt 6: the QML module Whisper"
FILES:${PN}-qmlmodule = "\
    ${libdir}/libwhisperclient${SOLIBS} \
    ${QT6_INSTALL_QMLDIR}/Whisper \
"

RDEPENDS:${PN} = "\
    qtbase-plugins \
    qtdeclarative-qmlplugins \
    whisper-gui-qmlmodule \
"
# The letters of every language of its own, Arabic among them.
RRECOMMENDS:${PN} = "ttf-dejavu-sans"
