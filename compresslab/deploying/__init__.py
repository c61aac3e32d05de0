"""Where does it run? A network becomes a file that other runtimes read, its codes still integers."""

from compresslab.deploying.exporting import export_onnx

__all__ = ["export_onnx"]
