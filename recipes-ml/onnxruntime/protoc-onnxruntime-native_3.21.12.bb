SUMMARY = "The protoc that ONNX Runtime asks for"
DESCRIPTION = "Generated code has to match the protobuf runtime that ONNX Runtime brings along (21.12), and \
Kirkstone's protobuf is 3.19.6. This builds that one compiler, under a name of its own."
HOMEPAGE = "https://protobuf.dev/"
SECTION = "devel"
LICENSE = "BSD-3-Clause"
LIC_FILES_CHKSUM = "file://LICENSE;md5=37b5762e07f0af8c74ce80a8bda4266b"

# The commit of the tag v21.12, which is 3.21.12 for C++; the same as in the recipe of onnxruntime.
SRC_URI = "git://github.com/protocolbuffers/protobuf.git;protocol=https;branch=21.x"
SRCREV = "f0dc78d7e6e331b8c6bb2d5283e06aa26883ca7c"

S = "${WORKDIR}/git"

CVE_PRODUCT = "google:protobuf protobuf:protobuf google-protobuf:protobuf"

inherit cmake native

EXTRA_OECMAKE = "\
    -DCMAKE_BUILD_TYPE=Release \
    -Dprotobuf_BUILD_TESTS=OFF \
    -Dprotobuf_BUILD_SHARED_LIBS=OFF \
    -Dprotobuf_WITH_ZLIB=OFF \
"
OECMAKE_TARGET_COMPILE = "protoc"

# Not CMake's own install: its libraries and headers would collide with those of protobuf-native.
do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/protoc ${D}${bindir}/protoc-onnxruntime
}
