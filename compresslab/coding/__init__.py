"""How few bytes? Numbers become packed bits, words and places; a tensor takes the way that is shortest."""

from compresslab.coding import huffman, places, ranges
from compresslab.coding.bits import pack, packed_size, unpack
from compresslab.coding.choosing import write_codes, write_places
from compresslab.coding.mixing import BIT_TIME, VALUE_MEMORY, mix, unmix
from compresslab.coding.planes import CODERS, LARGEST_COUNT, Coding, Natural, Stream
from compresslab.coding.steps import LOWEST, nearest_step, step_table

# fmt: off
__all__ = [
    "BIT_TIME",
    "CODERS",
    "LARGEST_COUNT",
    "LOWEST",
    "VALUE_MEMORY",
    "Coding",
    "Natural",
    "Stream",
    "huffman",
    "mix",
    "nearest_step",
    "pack",
    "packed_size",
    "places",
    "ranges",
    "step_table",
    "unmix",
    "unpack",
    "write_codes",
    "write_places",
]
# fmt: on
