"""What is in a file, and can it be trusted? A model becomes one file, and a stranger's is read with care."""

from compresslab.coding import huffman, places
from compresslab.coding.planes import CODERS
from compresslab.storage.container import contents, decode, encode, load, save

__all__ = ["CODERS", "contents", "decode", "encode", "huffman", "load", "places", "save"]
