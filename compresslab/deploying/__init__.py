"""Where does it run? A network becomes a file that other runtimes read, its codes still integers."""

from compresslab.deploying.exporting import export_onnx
from compresslab.deploying.running import bytes_of_onnx, open_onnx, quantize_onnx

__all__ = ["bytes_of_onnx", "export_onnx", "open_onnx", "quantize_onnx"]
