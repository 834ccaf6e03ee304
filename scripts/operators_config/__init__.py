"""The operators that our models need of ONNX Runtime, as its reduced build wants them listed."""
