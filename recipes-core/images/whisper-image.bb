SUMMARY = "Offline speech recognition for a Raspberry Pi 4"
DESCRIPTION = "systemd, sound tools, whisperd and its model on a read-only root with two slots."

require whisper-image.inc
