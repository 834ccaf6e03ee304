SUMMARY = "The writable places of an image with a read-only root and two slots"
DESCRIPTION = "Mounts the data partition of whisper-ab.wks, and a writable layer of it over /etc/whisperd."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${WORKDIR}/LICENSE;md5=32c3fc2d8425205848e365616ad6b2da"

# The licence is the repository's.
FILESEXTRAPATHS:prepend := "${THISDIR}/../..:"

SRC_URI = "\
    file://LICENSE \
    file://data.mount \
    file://etc-whisperd.mount \
    file://whisper-data-folders.service \
"

S = "${WORKDIR}"

inherit allarch features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd"

# Nothing else is called so; the name alone must not match another product.
CVE_PRODUCT = "meta-whisper:whisper-data"

INHIBIT_DEFAULT_DEPS = "1"

SYSTEMD_SERVICE:${PN} = "data.mount etc-whisperd.mount whisper-data-folders.service"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}/data ${D}${systemd_system_unitdir}
    for unit in ${SYSTEMD_SERVICE:${PN}}; do
        install -m 0644 ${WORKDIR}/$unit ${D}${systemd_system_unitdir}
    done
}

FILES:${PN} += "/data"

# e2fsck, for the data partition after a power cut.
RDEPENDS:${PN} = "e2fsprogs-e2fsck"
# Built in or a module: that is the kernel's configuration.
RRECOMMENDS:${PN} = "kernel-module-overlay"
