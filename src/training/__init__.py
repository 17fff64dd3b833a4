"""The training engine: splitting, packaging, ONNX export and parity, evaluation, gate, registry, ZenML, run policy."""
