"""How few bytes? Numbers become packed bits, words and places; a tensor takes the way that is shortest."""

from compresslab.coding import huffman, mixing, places, ranges
from compresslab.coding.bits import pack, packed_size, unpack
from compresslab.coding.choosing import write_codes, write_places
from compresslab.coding.planes import CODERS, LARGEST_COUNT, Coding, Natural, Stream
from compresslab.coding.steps import LOWEST, nearest_step, steps

# fmt: off
__all__ = [
    "CODERS", "LARGEST_COUNT", "LOWEST", "Coding", "Natural", "Stream", "huffman", "mixing", "nearest_step",
    "pack", "packed_size", "places", "ranges", "steps", "unpack", "write_codes", "write_places",
]
# fmt: on
