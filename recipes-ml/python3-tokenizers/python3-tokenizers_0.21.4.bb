SUMMARY = "Tokenizers of language models: text to ids and back"
DESCRIPTION = "Hugging Face's tokenizers, a Python module in Rust. whisperd encodes text with it."
HOMEPAGE = "https://github.com/huggingface/tokenizers"
BUGTRACKER = "https://github.com/huggingface/tokenizers/issues"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# The project's own binary for aarch64: its source wants a much newer Rust than Kirkstone's 1.59. It uses Python's
# stable ABI of 3.9, and of the C library nothing after 2.17.
PYPI_ARCHIVE_NAME = "tokenizers-${PV}-cp39-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
# The class only knows the folder of source archives; wheels lie in one named by their Python tag.
PYPI_SRC_URI = "${@pypi_src_uri(d).replace('/source/', '/cp39/')}"
SRC_URI[sha256sum] = "39b376f5a1aee67b4d29032ee85511bbd1b99007ec735f7f35c8a2eb104eade5"

inherit pypi setuptools3-base

DEPENDS += "python3-installer-native"

COMPATIBLE_HOST = "aarch64.*-linux"

CVE_PRODUCT = "huggingface:tokenizers"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    nativepython3 -m installer --compile-bytecode=0 --destdir=${D} ${WORKDIR}/${PYPI_ARCHIVE_NAME}
}

# The wheel also asks for huggingface-hub. Only Tokenizer.from_pretrained() imports it, to download: not on this target.
RDEPENDS:${PN} += "\
    python3-json \
    python3-stringold \
"

# Linked by the project, without this distribution's LDFLAGS: it has the old .hash section and no .gnu.hash.
INSANE_SKIP:${PN} = "ldflags"
