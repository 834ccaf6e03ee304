SUMMARY = "Offline speech recognition: daemon, default model, voice activity detector, sound tools"

# The default model's package is part of this one's content.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup

RDEPENDS:${PN} = "\
    alsa-utils \
    silero-vad \
    whisper-model-${@d.getVar('WHISPER_DEFAULT_MODEL').replace('.', '-')} \
    whisperd \
"
