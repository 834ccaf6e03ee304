"""Whisper over ONNX Runtime: features, model, decoding and whole clips."""
