SUMMARY = "Audio files as numpy arrays, by libsndfile"
DESCRIPTION = "Reads and writes WAV, FLAC, OGG and what else libsndfile knows. whisperctl decodes files with it."
HOMEPAGE = "https://github.com/bastibe/python-soundfile"
BUGTRACKER = "https://github.com/bastibe/python-soundfile/issues"
LICENSE = "BSD-3-Clause"
LIC_FILES_CHKSUM = "file://LICENSE;md5=50c87fd45f9555bc1ffe01fe22be78d2"

# Makes _soundfile.py of the C declarations, on the build machine.
DEPENDS = "python3-cffi-native"

SRC_URI = "file://0001-Load-libsndfile-by-its-soname.patch"
SRC_URI[sha256sum] = "b2c68dab1e30297317080a5b43df57e302584c49e2942defdde0acccc53f0e5b"

inherit pypi setuptools3

CVE_PRODUCT = "python-soundfile"

# libsndfile1 is opened by name at run time, so nothing finds it by looking at the files.
RDEPENDS:${PN} += "\
    libsndfile1 \
    python3-cffi \
    python3-ctypes \
    python3-numpy \
"
