SUMMARY = "The CMake that ONNX Runtime asks for"
DESCRIPTION = "ONNX Runtime 1.23 wants CMake 3.28, Kirkstone has 3.22. A newer cmake-native would rebuild \
every recipe that uses CMake, so this one has a name and a folder of its own: only a recipe with \
EXTRANATIVEPATH += \"cmake-onnxruntime\" finds it."
HOMEPAGE = "https://cmake.org/"
BUGTRACKER = "https://gitlab.kitware.com/cmake/cmake/-/issues"
SECTION = "devel"

# CMake itself and the libraries that it brings along and links: nothing of the host's is used.
LICENSE = "BSD-3-Clause & Apache-2.0 & MIT & BSD-2-Clause & curl & Zlib & PD & bzip2-1.0.6"
LIC_FILES_CHKSUM = "\
    file://Copyright.txt;md5=9d3d12c5f3b4c1f83650adcc65b59c06 \
    file://Source/cmake.h;beginline=1;endline=2;md5=a5f70e1fef8614734eae0d62b4f5891b \
    file://Utilities/cmbzip2/LICENSE;md5=1e5cffe65fc786f83a11a4b225495c0b \
    file://Utilities/cmcppdap/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://Utilities/cmcurl/COPYING;md5=db8448a1e43eb2125f7740fc397db1f6 \
    file://Utilities/cmexpat/COPYING;md5=9e2ce3b3c4c0f2670883a23bbd7c37a9 \
    file://Utilities/cmjsoncpp/LICENSE;md5=5d73c165a0f9e86a1342f32d19ec5926 \
    file://Utilities/cmlibarchive/COPYING;md5=d499814247adaee08d88080841cb5665 \
    file://Utilities/cmliblzma/COPYING;md5=97d554a32881fee0aa283d96e47cb24a \
    file://Utilities/cmlibrhash/COPYING;md5=a8c2a557a5c53b1c12cddbee98c099af \
    file://Utilities/cmlibuv/LICENSE;md5=ad93ca1fffe931537fcf64f6fcce084d \
    file://Utilities/cmnghttp2/COPYING;md5=764abdf30b2eadd37ce47dcbce0ea1ec \
    file://Utilities/cmzlib/Copyright.txt;md5=952d96c4fe88e5ceb8b3a1f9d47b9ec1 \
    file://Utilities/cmzstd/LICENSE;md5=c7f0b161edbe52f5f345a3d1311d0b32 \
"

SRC_URI = "https://cmake.org/files/v${@'.'.join(d.getVar('PV').split('.')[:2])}/cmake-${PV}.tar.gz"
SRC_URI[sha256sum] = "c39c733900affc4eb0e9688b4d1a45435a732105d9bf9cc1e75dd2b9b81a36bb"

S = "${WORKDIR}/cmake-${PV}"

CVE_PRODUCT = "kitware:cmake cmake_project:cmake"

inherit cmake native

# CMake finds its modules beside itself, by these two names. Without TLS it could not download if a project asked.
EXTRA_OECMAKE = "\
    -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_BIN_DIR=bin/cmake-onnxruntime \
    -DCMAKE_DATA_DIR=share/cmake-onnxruntime \
    -DCMAKE_USE_SYSTEM_LIBRARIES=OFF \
    -DCMAKE_USE_OPENSSL=OFF \
    -DBUILD_CursesDialog=OFF \
    -DBUILD_QtDialog=OFF \
    -DBUILD_TESTING=OFF \
"

do_install:append() {
    rm -rf ${D}${datadir}/cmake-onnxruntime/Help ${D}${prefix}/doc
    # Editor files and completions would collide with those of cmake-native.
    rm -rf ${D}${datadir}/vim ${D}${datadir}/emacs ${D}${datadir}/bash-completion ${D}${datadir}/aclocal
}
