"""What the room refuses, as one table for calls and one for files; each answer says what is wrong."""

import copy
import math
import struct

import numpy as np
import pytest
import torch
from samples import Kinds, network, put_together, quantized, same, take_apart, thinned

from compresslab.coding import huffman, places, ranges
from compresslab.coding.bits import pack, packed_size, unpack
from compresslab.coding.planes import Coding, Stream
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.container import decode, encode
from compresslab.storage.header import Header


def row(*numbers):
    return np.array([numbers], np.uint8)


def flat(*numbers):
    return np.array(numbers, np.uint8)


def words(bits):
    """Write bits as a piece of Huffman words."""
    return int(bits.ljust(16, "0"), 2).to_bytes(2, "little")


LENGTHS, EYE = b"\x21\x02", np.packbits(np.eye(40, dtype=bool), bitorder="little").tobytes()

CALLS = [
    # what a caller gave
    *((lambda bits=bits: pack(flat(0, 0), bits), "from 1 to 8") for bits in (0, 9, -1, 2.0, True, None)),
    *((lambda bits=bits: unpack(b"", bits, 0), "from 1 to 8") for bits in (0, 9, -1, 2.0, True, None)),
    *((lambda n=n: huffman.encode(row(0), n), "from 1 to 256") for n in (0, 257, -1, 2.0, True, None)),
    *((lambda n=n: huffman.decode(b"", 0, n), "from 1 to 256") for n in (0, 257, -1, 2.0, True, None)),
    *((lambda n=n: ranges.encode(row(0), n), "from 1 to 256") for n in (0, 257, -1, 2.0, True, None)),
    *((lambda n=n: ranges.decode(b"", (1, 3), n), "from 1 to 256") for n in (0, 257, -1, 2.0, True, None)),
    *((lambda n=n: ranges.encode(row(0), 4, n), f"1 or 16 contexts, found {n}") for n in (0, 2, 17)),
    *((lambda n=n: ranges.decode(b"", (1, 1), 4, n), f"16 contexts, found {n}") for n in (0, 2, 17)),
    *((lambda b=b: pack(flat(0, 1 << b, 0), b), f"{1 << b} does not fit") for b in range(1, 8)),
    (lambda: pack(np.zeros(3, np.int8), 4), "must be uint8, found int8"),
    (lambda: pack(torch.zeros(3), 4), r"must be uint8, found torch\.float32"),
    (lambda: pack(torch.zeros(3, dtype=torch.int8), 4), r"must be uint8, found torch\.int8"),
    (lambda: pack([0, 1], 4), "must be uint8, found list"),
    (lambda: pack(b"abc", 4), "must be uint8, found bytes"),
    (lambda: huffman.encode([0, 1], 4), "must be uint8, found list"),
    (lambda: huffman.encode(np.array([0, 1]), 4), "must be uint8, found int64"),
    (lambda: ranges.encode(np.array([[0, 1]]), 4), "must be uint8, found int64"),
    (lambda: huffman.encode(flat(0, 4), 4), r"4 does not fit among 4 \(0\.\.3\)"),
    (lambda: ranges.encode(row(0, 4), 4), r"4 does not fit among 4 \(0\.\.3\)"),
    (lambda: ranges.encode(flat(0, 1), 4), r"a matrix, found the shape \(2,\)"),
    (lambda: ranges.decode(b"", (-1, 2), 4), r"a matrix, found the shape \(-1, 2\)"),
    (lambda: unpack(b"", 4, -1), "-1 was asked for a count of codes"),
    (lambda: packed_size(-1, 4), "-1 was asked for a count of codes"),
    (lambda: huffman.decode(b"", -1, 4), "-1 was asked for a count of symbols"),
    *((lambda n=n: huffman.code_lengths([1, n]), f"{n} times") for n in (-1, -3)),
    (lambda: huffman.canonical_codes([1, 1, 1]), "no code has words of the lengths"),
    (lambda: huffman.canonical_codes([1, 2, 2, 2]), "no code has words of the lengths"),
    (lambda: huffman.canonical_codes([49, 1]), "found 1 to 49"),
    (lambda: huffman.canonical_codes([-1, 1]), "found -1 to 1"),
    # bytes that no coder has written
    *((lambda b=b: unpack(bytes(packed_size(99, b) - 1), b, 99), "99 codes") for b in range(1, 9)),
    *((lambda b=b: unpack(bytes(packed_size(99, b) + 1), b, 99), "99 codes") for b in range(1, 9)),
    (lambda: unpack(b"\x10", 4, 1), "Unused bits"),
    *(
        (lambda t=t: huffman.decode(bytes.fromhex(t) + bytes(2), 3, 2), "do not make a code")
        for t in ("00", "21", "22", "f1")
    ),
    (lambda: huffman.decode(b"\x21", 3, 3), "takes 2 bytes, found 1"),
    (lambda: huffman.decode(LENGTHS, 3, 3), "end within the 3 symbols"),
    (lambda: huffman.decode(LENGTHS + words("0100"), 3, 3), "not those of the best code"),
    (lambda: huffman.decode(b"\x22\x01" + words("101101"), 3, 3), "something follows"),
    (lambda: huffman.decode(b"\x22\x01" + words("10110") + b"\0\0", 3, 3), "something follows"),
    (lambda: huffman.decode(b"\x22\x01" + words("10110") + b"\0", 3, 3), "pieces of two bytes"),
    (lambda: huffman.decode(b"\x22\x01" + bytes(100), 3, 3), "at most 3 pieces"),
    (lambda: huffman.decode(b"\x22\x11" + words("10110"), 3, 3), "Unused bits"),
    (lambda: huffman.decode(b"\x01\x00" + b"\0", 3, 3), "take no words"),
    (lambda: ranges.decode(b"\1", (2, 2), 2), "1 tables of 2 bytes come first, found 1 bytes"),
    (lambda: ranges.decode(b"\1\1\0", (2, 2), 2), "leading zero"),
    (lambda: ranges.decode(b"\1\1", (2, 2), 2), "the tables are not those"),
    (lambda: ranges.decode(b"\0\4\1", (2, 2), 2), "something is left"),
    (lambda: ranges.decode(b"\1\1" + bytes(range(1, 9)), (2, 2), 2), "something is left"),
    (lambda: ranges.decode(b"\2\2" + bytes(32), (2, 2), 2, 16), "a symbol below 2"),
    (lambda: ranges.decode(b"\0\1" + bytes(32), (2, 2), 2, 16), "a stride from 2"),
    (lambda: ranges.decode(b"\0\2" + bytes(31), (2, 2), 2, 16), "16 tables of 2 bytes .* found 31 bytes"),
    (lambda: ranges.decode(b"\0\2" + bytes(32), (2, 2), 2, 16), "the tables are not those"),
    (lambda: ranges.decode(b"\0", (2, 2), 2, 16), "found 00"),
    (lambda: places.from_gaps(flat(3), 2, (2, 3)), "end on a skip"),
    (lambda: places.from_gaps(flat(0, 3), 2, (2, 3)), "end on a skip"),
    (lambda: places.from_gaps(flat(3, 3, 0), 2, (2, 3)), "place 6"),
    (lambda: places.from_gaps(flat(*[0] * 7), 2, (2, 3)), "place 6"),
    (lambda: places.from_rows_and_columns([flat(1, 1), flat(0)], (2, 3)), "count 2 values"),
    (lambda: places.from_rows_and_columns([flat(1, 0), flat(3)], (2, 3)), "count 1 values"),
    (lambda: places.from_rows_and_columns([flat(1, 1), flat(0, 3)], (2, 3)), "count 2 values"),
    (lambda: places.from_rows_and_columns([flat(2, 0), flat(1, 1)], (2, 3)), "rising order"),
    (lambda: places.from_rows_and_columns([flat(2, 0), flat(2, 1)], (2, 3)), "rising order"),
    (
        lambda: Coding("bitmap", 0, 39, (Stream("packed", 1600, 200),)).mask([EYE], (40, 40)),
        "40 places are named for 39",
    ),
    # what a header says of planes that are not there to be read
    (lambda: Coding("dense", 0, 5, (Stream("packed", 5, 3),)).check((2, 3), 4), "5 values .* in 6 places"),
    (lambda: Coding("bitmap", 0, 1, (Stream("packed", 5, 1),)).check((2, 3), None), "cannot hold 5 numbers"),
    (lambda: Coding("gaps8", 0, 1, (Stream("huffman", 7, 1),)).check((2, 3), None), "cannot hold 7 numbers"),
    (lambda: Header(("lenet5", {"conv1": math.nan}), ()).to_bytes(), "cannot be written as JSON"),
    *(
        (lambda limit=limit: decode(encode(network())[0], max_bytes=limit), "asked for max_bytes; .* whole")
        for limit in (1e9, True, None, "256 MB", -1)
    ),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_a_call_that_is_refused_says_why(call, message):
    with pytest.raises(CompressionError, match=message):
        call()


BEGINNINGS = [
    (b"", "not a compresslab file"),
    (b"PK\3\4" + bytes(100), "not a compresslab file"),
    (put_together("{}", b"", magic=b"clab"), "not a compresslab file"),
    (put_together("{}", b"", version=2), "version 2.*reads 1"),
    (put_together("{}", b""), "hold builder, schemes, tensors: Object missing required field `builder`"),
    (put_together("[]", b""), "hold builder, schemes, tensors: Expected `object`, got `array`"),
    (put_together('"\xff"'.encode("latin-1").decode("latin-1"), b""), "builder, schemes.*got `str`"),
    (put_together("nonsense", b""), "not JSON"),
    (put_together('{"a":1,"a":2}', b""), "key 'a' twice"),
    (put_together('{"a":NaN}', b""), "NaN"),
    (put_together('{"a":-Infinity}', b""), "-Infinity"),
    (put_together('{"a":1e999}', b""), "1e999"),
    (put_together('{"a":' + "9" * 20 + "}", b""), "unknown field `a`"),
    (put_together('{"a":' + "9" * 21 + "}", b""), "a number of 21 digits"),
    (put_together('{"a":' + "9" * 5000 + "}", b""), "a number of 5,000 digits"),
    (put_together('{"a":-' + "9" * 4300 + "}", b""), "a number of 4,301 digits"),
    (put_together('{"a":' + "[" * 20 + "]" * 20 + "}", b""), "nested deeper than 6"),
    (put_together("[" * 100_000, b""), "not JSON"),
    (b"CLAB\1\0" + struct.pack("<II", 2**32 - 1, 0) + bytes(50), "header should have 4294967295"),
    (put_together("1" + " " * 1_000_000, b""), "header should have 1000001"),
]


def good():
    """A network in 4 bits, written plainly."""
    return take_apart(encode(quantized(network(), Symmetric(4)), plain=True)[0])


def sparse():
    """A pruned network in 4 bits, its weights in planes."""
    model = quantized(thinned(network("lenet_300_100"), 0.9), Symmetric(4))
    return take_apart(encode(model, coders=["packed", "huffman"])[0])


def say(name, position, value):
    """Put a value at a position of a tensor's entry."""
    return lambda header, payload: entry(header, name).__setitem__(position, value)


def entry(header, name):
    return next(item for item in header["tensors"] if item[0] == name)


WEIGHT, BIAS, CODED = "conv1.weight", "conv1.bias", "fc1.weight"
LIES = [
    (lambda h, p: h.update(extra=1), "unknown field `extra`"),
    (lambda h, p: h.update({"\ud800": 1}), "builder, schemes, tensors: .*surrogates not allowed"),
    (lambda h, p: h.pop("schemes"), "missing required field `schemes`"),
    (lambda h, p: h.update(builder=7), r"`array \| null`, got `int` - at `\$\.builder`"),
    (lambda h, p: h.update(builder=None), "into=module"),
    (lambda h, p: h["builder"].append(1), r"length 2, got 3 - at `\$\.builder`"),
    (lambda h, p: h.update(builder=["resnet", {}]), "no network 'resnet'; there are article"),
    (lambda h, p: h["builder"][1].update(conv1=10**9), "conv1"),
    (lambda h, p: h["builder"][1].update(conv1=-1), "conv1"),
    (lambda h, p: h["builder"][1].update(conv1="3"), "conv1"),
    (lambda h, p: h["builder"][1].update(seed=1), "keywords"),
    (lambda h, p: h["builder"][1].update(device="cuda"), "keywords"),
    (lambda h, p: h["builder"][1].update(conv1=4), "conv1.weight has shape"),
    (lambda h, p: h.update(schemes=None), r"`array`, got `null` - at `\$\.schemes`"),
    (lambda h, p: h["schemes"][0].update(name="os.system"), "no scheme 'os.system'"),
    (lambda h, p: h["schemes"][0].update(bits=9), "9 was asked for the bits"),
    (lambda h, p: h["schemes"][0].update(bits=3), "announces"),
    (lambda h, p: h["schemes"][0].update(clip={"name": "Percentile", "value": "x"}), "scheme"),
    (lambda h, p: h.update(tensors={}), r"`array`, got `object` - at `\$\.tensors`"),
    (lambda h, p: h["tensors"].__delitem__(-1), "announces"),
    (lambda h, p: h["tensors"].append(7), r"`array`, got `int` - at `\$\.tensors\[8\]`"),
    (lambda h, p: h["tensors"].append([]), "no layout None; there are f64"),
    (lambda h, p: h["tensors"].append(["x", [1], 5]), "'x': There is no layout 5"),
    (lambda h, p: h["tensors"].append([7, [1], "f32"]), r"tensor 7: It must hold name.* got `int`"),
    (lambda h, p: h["tensors"].append(h["tensors"][0]), "'conv1.weight' twice"),
    (lambda h, p: h["tensors"].append(["more", [0], "f32"]), "surplus tensor 'more'"),
    # a name cannot reach outside the tensors
    *((say(WEIGHT, 0, name), "no tensor 'conv1.weight'") for name in ("conv9.weight", "conv1", "..")),
    *((say(WEIGHT, 0, f"conv1.{leaf}"), "has no tensor") for leaf in ("__class__", "codes", "weight.data")),
    (say(WEIGHT, 0, "forward"), "has no tensor"),
    (say(WEIGHT, 0, "x" * 501), "of length <= 500"),
    (say(WEIGHT, 0, ""), "of length >= 1"),
    (say(BIAS, 2, "f128"), "no layout 'f128'; there are f64"),
    (say(BIAS, 2, "i32"), "torch.int32 in the file"),
    (say(BIAS, 2, "f16"), "announces"),
    (lambda h, p: say(BIAS, 2, "f64")(h, p) or p + bytes(12), "torch.float64 in the file"),
    (say(BIAS, 2, "packed"), "name, shape, layout, values: .*at least length 4, got 3"),
    (lambda h, p: entry(h, BIAS).append(0), "name, shape, layout: .*at most length 3, got 4"),
    (say(WEIGHT, 2, "f32"), "at most length 3, got 4"),
    (say(WEIGHT, 3, 1), "names scheme 1; the header holds 1"),
    (say(WEIGHT, 3, -1), r"`int` >= 0 - at `\$\[3\]`"),
    (say(WEIGHT, 3, False), r"`int`, got `bool` - at `\$\[3\]`"),
    (say(WEIGHT, 3, "f32"), r"`int`, got `str` - at `\$\[3\]`"),
    (say(WEIGHT, 1, [-3, -1, 3, 3]), r"`int` >= 0 - at `\$\[1\]\[0\]`"),
    (say(WEIGHT, 1, [3.0, 1, 3, 3]), r"`int`, got `float` - at `\$\[1\]\[0\]`"),
    (say(WEIGHT, 1, [True, 1, 3, 3]), r"`int`, got `bool` - at `\$\[1\]\[0\]`"),
    (say(WEIGHT, 1, "3133"), r"`array`, got `str` - at `\$\[1\]`"),
    (say(WEIGHT, 1, [1] * 17), "of length <= 16"),
    (say(WEIGHT, 1, [2**40, 2**40]), "larger than any machine"),
    (say(WEIGHT, 1, [10**18]), "`int` <= 281474976710656"),
    (say(WEIGHT, 1, []), "needs an axis"),
    (say(WEIGHT, 1, [3, 1, 3, 3, 0]), "needs an axis"),
    (say(WEIGHT, 1, [27]), "shape"),
    (lambda h, p: p + b"\0", "announces"),
    (lambda h, p: p[:-1], "announces"),
    (lambda h, p: p[:14] + struct.pack("<f", math.nan) + p[18:], "conv1.weight.*not all finite"),
    (lambda h, p: p[:14] + struct.pack("<f", 3e38) + p[18:], "conv1.weight.*overflowed"),
    (lambda h, p: b"\xff" + p[1:], "conv1.weight.*codes run from -7 to 8"),
    (lambda h, p: p[:13] + bytes([p[13] | 0xF0]) + p[14:], "conv1.weight.*unused bits"),
]
BIAS_CODED = "fc1.bias"
CODED_LIES = [
    (say(CODED, 2, "zipped"), "no layout 'zipped'; there are .* packed, coded"),
    (say(CODED, 3, 7), "scheme 7"),
    (say(CODED, 3, "f33"), "no number type 'f33'; there are f64"),
    (say(CODED, 3, "f32"), "planes|values"),
    (say(CODED, 4, "gaps9"), "way .*'gaps9'; there are dense, bitmap"),
    (say(CODED, 4, "rows"), "planes"),
    (say(CODED, 4, "dense"), "places"),
    (say(CODED, 5, 16), "beside 16"),
    (say(CODED, 5, -1), "way, background, kept, planes: Expected `int` >= 0"),
    (say(CODED, 6, -1), r"`int` >= 0 - at `\$\[2\]`"),
    (say(CODED, 6, 10**9), "values"),
    (say(CODED, 6, 10**18), r"`int` <= 281474976710656 - at `\$\[2\]`"),
    (say(CODED, 7, [["packed", 1, int("9" * 4300)]]), "a number of 4,300 digits"),
    (say(BIAS_CODED, 2, "same"), "name, shape, layout, values"),
    (lambda h, p: entry(h, BIAS_CODED).__setitem__(slice(2, 3), ["same", 1]), "1 before it, which is none"),
    (
        lambda h, p: entry(h, BIAS_CODED).__setitem__(slice(2, 3), ["same", 0]),
        "the tensor that it is has another",
    ),
    (say(CODED, 6, True), "`int`, got `bool`"),
    (say(CODED, 7, []), "planes, found 0"),
    (say(CODED, 7, [["packed", 1, 1]]), "planes, found 1"),
    (say(CODED, 7, [["packed", 1], ["packed", 1, 1]]), r"at least length 3, got 2 - at `\$\[3\]\[0\]`"),
    (say(CODED, 7, [["packed", -1, 1], ["packed", 1, 1]]), "`int` >= 0"),
    (
        say(CODED, 7, [["packed", 4704, 1], ["packed", 1, 1]]),
        "4704 packed .* cannot fill 1 bytes",
    ),
    (say(CODED, 7, [["zip", 4704, 1], ["packed", 1, 1]]), "no coder 'zip'; there are packed, huffman"),
    (lambda h, p: entry(h, CODED).append(0), "at most length 4, got 5"),
    (lambda h, p: entry(h, CODED).pop(), "at least length 4, got 3"),
]
FILES = [*BEGINNINGS]
for base, lies in ((good(), LIES), (sparse(), CODED_LIES)):
    for change, message in lies:
        header, payload = copy.deepcopy(base)
        changed = change(header, payload)
        FILES.append((put_together(header, changed if isinstance(changed, bytes) else payload), message))


@pytest.mark.parametrize(("data", "message"), FILES, ids=[message for _, message in FILES])
def test_a_file_that_is_refused_says_why_in_a_few_words(data, message):
    with pytest.raises(FormatError, match=f"(?i){message}") as caught:
        decode(data)
    assert len(str(caught.value)) <= 500


def test_the_lies_above_start_from_good_files():
    assert same(decode(put_together(*good())), quantized(network(), Symmetric(4)))
    assert decode(put_together(*sparse()))


def test_the_code_below_the_lowest_is_refused():
    """Symmetric has no -128, though a byte does."""
    header, payload = take_apart(encode(quantized(network(), Symmetric(8)), plain=True)[0])
    with pytest.raises(FormatError, match=r"conv1\.weight.*-128"):
        decode(put_together(header, b"\xff" + payload[1:]))


def test_a_flag_that_is_neither_true_nor_false_is_refused():
    header, payload = take_apart(encode(Kinds(), plain=True)[0])
    before = header["tensors"].index(["flags", [3], "bool"])
    size = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u8": 1}
    start = sum(math.prod(shape) * size[layout] for _, shape, layout in header["tensors"][:before])
    assert payload[start : start + 3] == b"\1\0\1"
    with pytest.raises(FormatError, match=r"flags.* byte of 2"):
        decode(put_together(header, payload[:start] + b"\2" + payload[start + 1 :]), into=Kinds(fill=False))
