require whisper-model.inc

WHISPER_MODEL = "tiny"
