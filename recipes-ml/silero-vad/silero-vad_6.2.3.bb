SUMMARY = "Silero VAD: finds where speech begins and ends"
DESCRIPTION = "A network of 1.3 MB, for ONNX Runtime, that tells speech from everything else in 16 kHz audio."
HOMEPAGE = "https://github.com/snakers4/silero-vad"
BUGTRACKER = "https://github.com/snakers4/silero-vad/issues"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://silero_vad-${PV}.dist-info/licenses/LICENSE;md5=475d6abdf4b0304512f6d01b55906b6c"

# The network comes in the project's Python package, of which nothing else is wanted. A wheel is a zip file, and lies
# in a folder named by its Python tag; the class only knows the one of source archives.
PYPI_ARCHIVE_NAME = "silero_vad-${PV}-py3-none-any.whl"
PYPI_SRC_URI = "${@pypi_src_uri(d).replace('/source/', '/py3/')};downloadfilename=silero_vad-${PV}.zip;subdir=${BP}"
SRC_URI[sha256sum] = "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"

# Data of one kind for every machine.
inherit pypi allarch

SECTION = "multimedia"

S = "${WORKDIR}/${BP}"

# Not the Python package of that name: only the network is installed.
CVE_PRODUCT = "silero-vad"

INHIBIT_DEFAULT_DEPS = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${datadir}/whisper/vad
    install -m 0444 ${S}/silero_vad/data/silero_vad_16k_op15.onnx ${D}${datadir}/whisper/vad
}

FILES:${PN} += "${datadir}/whisper"
