"""How few bytes? Codes become planes, planes become one file, and a stranger's file is read with care."""

from compresslab.storage import huffman, places
from compresslab.storage.container import contents, decode, encode, load, save
from compresslab.storage.planes import CODERS

__all__ = ["CODERS", "contents", "decode", "encode", "huffman", "load", "places", "save"]
