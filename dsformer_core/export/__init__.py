"""Networks as files for other runtimes: ONNX, INT8 of it, TensorRT engines of either.

>>> export_onnx("dsformer_tiny", "auto", Path("tiny.onnx"))
>>> Extractor("dsformer_tiny", "tiny.onnx").extract(images)
"""

from dsformer_core.export.onnx_file import DEFAULT_OPSET, export_onnx

__all__ = ["DEFAULT_OPSET", "export_onnx"]
