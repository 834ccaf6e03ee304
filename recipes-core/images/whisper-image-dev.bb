SUMMARY = "whisper-image for development"
DESCRIPTION = "whisper-image with ssh, debugger and tests, and root without a password."

require whisper-image.inc

# Not for a car: debug-tweaks lets anybody in.
IMAGE_FEATURES += "debug-tweaks ssh-server-dropbear tools-debug"

IMAGE_INSTALL += "\
    htop \
    nano \
    ${@bb.utils.contains('DISTRO_FEATURES', 'ptest', 'whisperd-ptest', '', d)} \
"
