"""Whisper weights in, an ONNX bundle for whisperd out."""
