"""What is in a file, and can it be trusted? A model becomes one file, and a stranger's is read with care."""

from compresslab.coding import huffman, places
from compresslab.coding.planes import CODERS
from compresslab.storage.container import contents, decode, encode, load, save
from compresslab.storage.files import target_of, write_whole
from compresslab.storage.integers import builder_of_integers, is_integer

# fmt: off
__all__ = [
    "CODERS", "builder_of_integers", "contents", "decode", "encode", "huffman", "is_integer", "load",
    "places", "save", "target_of", "write_whole",
]
# fmt: on
