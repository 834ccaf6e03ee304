SUMMARY = "Offline speech recognition for a Raspberry Pi 4: whisperd on a read-only root"

require whisper-image.inc
