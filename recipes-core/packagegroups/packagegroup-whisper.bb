SUMMARY = "Offline speech recognition"
DESCRIPTION = "Daemon, default model, voice activity detector and sound tools."
SECTION = "multimedia"
LICENSE = "MIT"

require conf/include/whisper.inc

# The default model's package is part of this one's content.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup

RDEPENDS:${PN} = "\
    alsa-utils \
    silero-vad \
    whisper-model-${@d.getVar('WHISPER_DEFAULT_MODEL').replace('.', '-')} \
    whisperd \
"
