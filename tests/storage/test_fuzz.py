"""Whatever is done to a file, loading gives a CompressionError or a valid model, in bounded memory and time.

    PYTHONPATH=tests python -m tests.storage.test_fuzz 100000 1

The numbers say how many cases and which seed; the figures are printed as JSON, by kind of case: bytes of a
file changed (with the old checksum or a right one, or of a compact file), its header changed, a file loaded
into a module that it may not be for, and the bytes of a plane given to its decoder.

Half of the files get their checksum set right again, so that the change reaches the parser. The same seed
gives the same files on every machine.
"""

import copy
import json
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from memory import needs_proc, peak
from samples import (
    HELPERS,
    SMALL,
    Kinds,
    images,
    network,
    put_together,
    quantized,
    resealed,
    state,
    stranger,
    take_apart,
    thinned,
    tiny,
)
from torch import nn

from compresslab import models
from compresslab.coding.planes import CODERS, WAYS
from compresslab.errors import CompressionError
from compresslab.integers.network import quantize_activations
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric
from compresslab.storage.compact import is_compact
from compresslab.storage.container import contents, encode, load
from compresslab.storage.header import Header
from compresslab.storage.limits import MAX_BYTES

SECONDS = 10  # of processor time; the usual file takes a millisecond
LARGEST = 1 << 20  # payloads are made to fit their header up to this size


def seeds():
    """Good files, each with what it takes to load it."""
    schemes = [
        *(Symmetric(4, PerChannel()), Symmetric(8, PerTensor()), Asymmetric(3, PerGroup(7))),
        *(Binary(PerTensor()), Ternary(PerChannel()), PowerOfTwo(5, PerGroup(4)), KMeans(2, PerChannel())),
    ]
    models = [(network(name), None) for name in ("article", "residual")]
    models += [(quantized(network("lenet5"), scheme), None) for scheme in schemes]
    models += [(quantized(network("residual"), KMeans(3)), None)]
    models += [(Kinds(), Kinds), (quantized(stranger(), Binary(PerChannel())), stranger)]
    models += [(thinned(network("article"), share), None) for share in (0.5, 0.9, 0.99)]
    models += [(quantized(thinned(network("lenet_300_100"), 0.8), KMeans(3, keep_zero=True)), None)]
    models += [(stranger(width=1), stranger), (quantized(stranger(width=1), Symmetric(4)), stranger)]  # cut
    models += [(quantize_activations(network(name), [images()]), None) for name in ("article", "residual")]
    models += [(Tied(), Tied), (quantize(Tied(), Symmetric(3)), Tied)]
    written = [(encode(model, plain=plain)[0], into) for model, into in models for plain in (True, False)]
    written += 4 * [(encode(model, coding="mixing")[0], None) for model in compact()]
    return [*written, *((encode(model, coders=[coder])[0], None) for coder in CODERS for model in few())]


class Tied(nn.Sequential):
    """Two layers that share a weight."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 784))
        self[3].weight = self[1].weight


def compact():
    """Networks that a compact file can hold: of codes alone, with floats, with a list of widths."""
    odd = tiny()
    odd.conv1.weight_scale.fill_(0.3)
    norms = {"norm": False}
    return [
        odd,
        tiny("lenet_300_100", cosines=4),
        quantized(network("article"), Symmetric(3)),
        tiny("residual", **norms),
    ]


def few():
    """Sparse networks for every coder by itself."""
    thin = thinned(network("article", seed=3), 0.9)
    return [thin, quantized(copy.deepcopy(thin), Symmetric(4)), quantized(network("lenet5"), Ternary())]


# ---- What is done to a file -----------------------------------------------------------------------------


CHANGES = ("flip", "flip", "byte", "word", "cut", "extend", "insert", "delete", "repeat", "splice")


def change_bytes(choose, data, others):
    at, length = choose.randrange(len(data)), choose.choice((1, 2, 4, 100, 1000))
    other = choose.choice(others)
    match choose.choice(CHANGES):
        case "flip":
            for _ in range(choose.choice((1, 1, 2, 8))):
                data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        case "byte":
            data[at] = choose.choice(b'\0\xff\x7f\x80["9-\n')
        case "word":  # counts that are no counts, infinities, NaN, the largest float
            words = (0, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 2**31, 2**32 - 1)
            data[at : at + 4] = struct.pack("<I", choose.choice(words))
        case "cut":
            del data[at:]
        case "extend":
            data += choose.randbytes(5 * length)
        case "insert":
            data[at:at] = choose.randbytes(5 * length)
        case "delete":
            del data[at : at + length]
        case "repeat":
            data[at:at] = data[at : at + length]
        case "splice":
            data[at:] = other[choose.randrange(len(other)) :]


# Values that no header should hold where they land; "@...@" is replaced by raw text after dumping.
ODD = [
    *(None, True, False, 0, 1, -1, 2, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**48, 2**63, 2**64, 10**30),
    *(0.5, -0.0, 1e300, 1e-320, "", "packed", "coded", "f32", "bool", "f64", "dense", "rows", "range"),
    *(
        "same",
        "integers",
        "conv1.weight",
        "../../x",
        "\0",
        "é\ud800",
        "x" * 600,
        [],
        {},
        [[]],
        [0],
        [1, 2, 3],
        [0, 2**40],
    ),
    *({"name": "Binary"}, {"name": "PerGroup", "size": 1}, {"name": "Percentile", "value": -5}),
    {"name": "Symmetric", "granularity": {"name": "PerGroup", "size": 10**400}, "bits": 2},
    *("@NaN@", "@Infinity@", "@1e999@", "@-1e999@", "@" + "9" * 4300 + "@", "@-" + "9" * 5000 + "@"),
    *("@" + "[" * 50 + "]" * 50 + "@", "@" + "[" * 5000 + "@", '@{"a":1,"a":2}@', "@1,1@", "@'@"),
]


def places(value, found):
    """List every (container, key) of nested lists and dicts."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(child, dict | list):
            places(child, found)
    return found


def meant(header):
    """Say whether a header still has the form in which its words have a meaning."""
    try:
        Header.from_bytes(json.dumps(header).encode())
    except CompressionError:
        return False
    return True


def change_value(choose, holder, key):
    value, odd = copy.deepcopy(holder[key]), copy.deepcopy(choose.choice(ODD))
    match choose.choice(("odd", "odd", "number", "number", "remove", "double", "exchange")):
        case "number" if type(value) in (int, float):
            holder[key] = value * choose.choice((-1, 1, 2, 10**9)) + choose.choice((-1, 0, 1))
        case "odd" | "number":
            holder[key] = odd
        case "remove":
            del holder[key]
        case "double" if isinstance(holder, list):
            holder.insert(choose.randrange(len(holder) + 1), value)
        case "double":
            holder[choose.choice(["", "name", "bits", str(key) + "2"])] = value
        case "exchange":
            other = choose.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            holder[key], holder[other] = holder[other], holder[key]


# What a header may say, each a lie in its place: the words of other layouts, coders and ways, other widths.
MEANINGS = {
    "layout": ("packed", "coded", "same", "f32", "f16", "bool", "i8"),
    "coder": tuple(CODERS),
    "way": WAYS,
    "builder": ("article", "lenet_300_100", "lenet5", "residual", "integers"),
    "width": (1, 2, 3, 31, 32, 784, 4096, 2**20, 2**31, 2**48),
}


def change_meaning(choose, header):
    """Put a word where such a word may stand, or a width or a count where one may; say of what."""
    tensor, what = choose.choice(header["tensors"]), choose.choice(tuple(MEANINGS))
    match what:
        case "layout":
            tensor[2] = choose.choice(MEANINGS["layout"])
            if choose.random() < 0.5:
                tensor[3:] = [choose.randrange(4)]
        case "coder" if tensor[2] == "coded" and tensor[7]:
            choose.choice(tensor[7])[0] = choose.choice(MEANINGS["coder"])
        case "way" if tensor[2] == "coded":
            tensor[4] = choose.choice(WAYS)
        case "builder" if header["builder"]:
            if choose.random() < 0.5:
                header["builder"][0] = choose.choice(MEANINGS["builder"])
            else:
                arguments = header["builder"][1]
                arguments[choose.choice([*arguments, "network"])] = choose.choice(
                    MEANINGS["width"] + MEANINGS["builder"]
                )
        case _:
            numbers = (
                tensor[1]
                if tensor[2] != "coded" or choose.random() < 0.5
                else choose.choice(tensor[7] or [[0]])
            )
            places = [at for at, value in enumerate(numbers) if isinstance(value, int)]
            if places:
                numbers[choose.choice(places)] = choose.choice(MEANINGS["width"])
    return "builder" if what == "builder" and header["builder"] else "meaning"


def change_header(choose, data):
    """Change one to three places of the header; half the time make the payload fit what it now announces.

    Returns the file, and the most telling of the changes: the builder and its arguments, another meaning that
    a header may have, or any value.
    """
    header, payload = take_apart(data)
    done = {"values"}
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        if choose.random() < 0.4 and header.get("tensors") and meant(header):
            done.add(change_meaning(choose, header))
        elif found := places(header, []):
            change_value(choose, *choose.choice(found))
    text = json.dumps(header, separators=(",", ":"))
    for odd in ODD:
        if isinstance(odd, str) and odd.startswith("@"):
            text = text.replace(json.dumps(odd), odd[1:-1])
    changed = put_together(text, fitted(choose, text, payload) if choose.random() < 0.5 else payload)
    return changed, "header, " + next(kind for kind in ("builder", "meaning", "values") if kind in done)


def fitted(choose, text, payload):
    try:
        size = sum(entry.bytes_in_file for entry in Header.from_bytes(text.encode()).entries)
    except CompressionError:
        return payload
    if size > LARGEST:
        return payload
    return (payload + bytes(choose.choice((0, 1, 127))) * size)[:size].ljust(size, b"\0")


def mutants(count, seed, good=None):
    """Yield changed files with what it takes to load them and the kind of change.

    Every other file has a right checksum.
    """
    choose, good = random.Random(seed), good or seeds()
    others = [data for data, _ in good]
    for number in range(count):
        data, into = choose.choice(good)
        if number % 2 and not is_compact(data) and choose.random() < 0.6:
            changed, kind = change_header(choose, data)
            yield changed, into, kind
            continue
        changed = bytearray(data)
        change_bytes(choose, changed, others)
        kind = ("compact file" if is_compact(data) else "bytes") + (", sealed" if number % 2 else "")
        yield resealed(changed) if number % 2 else bytes(changed), into, kind


def strangers(count, seed, good):
    """Yield files, half of them changed, with a module to load them into that may be another's."""
    choose = random.Random(seed)
    modules = [into for _, into in good if into]
    modules += [lambda name=name: network(name) for name in SMALL]
    changed = mutants(count, seed + 1, good)
    for _ in range(count):
        data = choose.choice(good)[0] if choose.random() < 0.5 else next(changed)[0]
        yield data, choose.choice(modules)


def planes(count, seed):
    """Yield a coder, the changed bytes of a plane that it wrote, and the plane's shape and width."""
    choose, drawn = random.Random(seed), np.random.default_rng(seed)
    for _ in range(count):
        coder, bits = choose.choice(list(CODERS)), choose.randint(1, 8)
        shape = choose.choice((1, 1, 2, 30)), choose.choice((0, 1, 5, 40, 900))
        spread = choose.choice((0.3, 1, 2**bits))
        plane = np.minimum(np.abs(drawn.normal(0, spread, shape)), 2**bits - 1).astype(np.uint8)
        data = bytearray(CODERS[coder].write(plane, bits))
        if data:
            change_bytes(choose, data, [bytes(data)])
        yield coder, bytes(data), shape, bits


# ---- What must hold ---------------------------------------------------------------------------------------


def outcome(path, into):
    """Load a file as a stranger would send it: 'refused', or 'loaded' if the model is a valid one."""
    module = into() if into else None
    before = state(module) if module else None
    try:
        model = load(path, into=module)
    except CompressionError as error:
        assert module is None or state(module) == before  # it is as it was
        return "refused" if len(str(error)) <= 500 else "refused at length"
    encode(model, plain=True)  # a valid model can be saved again, which checks every code and level
    if not isinstance(model, Kinds):
        channels = getattr(getattr(model, "config", None), "channels", 1)  # a changed file may be of colours
        shown = images().expand(-1, channels, -1, -1)
        model(shown.to(next(model.parameters(), shown).dtype))  # an integer network has none
    return "loaded"


def decoded(coder, data, shape, bits):
    """Decode a plane: 'refused', or 'loaded' if writing it again gives the very bytes."""
    try:
        plane = CODERS[coder].read(data, shape, bits)
    except CompressionError as error:
        return "refused" if len(str(error)) <= 500 else "refused at length"
    assert plane.shape == shape
    if plane.size and plane.max() >> bits:  # a file's plane is held against its width by Stream.read
        return "refused"
    assert CODERS[coder].write(plane, bits) == data
    return "loaded"


def changed_files(count, seed, path, good, judge):
    """Yield the kind of every changed file, and a function that tries it."""
    for data, into, kind in mutants(count, seed, good):
        path.write_bytes(data)
        yield kind, partial(judge, path, into)


def cases(count, seed, path, good):
    """Yield the kind of every case, and a function that tries it: of ten, eight are changed files."""
    changed, foreign = mutants(count, seed, good), strangers(count, seed + 10**6, good)
    coded = planes(count, seed + 2 * 10**6)
    for number in range(count):
        if number % 10 == 9:
            yield "decoder", partial(decoded, *next(coded))
            continue
        data, into, kind = (*next(foreign), "into") if number % 10 == 8 else next(changed)
        path.write_bytes(data)
        yield kind, partial(outcome, path, into)


def run(count, seed, good=None, judge=None):
    """Try that many cases, or show a judge that many changed files, and report what happened."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, lambda *_: pytest.fail(f"a case took more than {SECONDS} s"))
    counts, kinds, slowest = Counter(), defaultdict(lambda: defaultdict(float)), Counter()
    good = good or seeds()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.clab"
        for data, into in good:
            path.write_bytes(data)
            assert (judge or outcome)(path, into) in ("loaded", "scored")
        before = peak()
        tried = changed_files(count, seed, path, good, judge) if judge else cases(count, seed, path, good)
        for number, (kind, attempt) in enumerate(tried):
            start = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                found = attempt()
            except BaseException:
                print(f"case {number} of seed {seed}: {kind}", file=sys.stderr)
                raise
            signal.setitimer(signal.ITIMER_PROF, 0)
            took = time.process_time() - start
            slowest[found] = max(slowest[found], took)
            counts[found] += 1
            kinds[kind][found] += 1
            kinds[kind]["seconds"] += took
            kinds[kind]["slowest_s"] = max(kinds[kind]["slowest_s"], took)
    resident, address = (now - then for now, then in zip(peak(), before, strict=True))
    by_kind = {
        kind: {name: round(value, 3) for name, value in of.items()} for kind, of in sorted(kinds.items())
    }
    slow = {f"slowest_{found}_s": round(seconds, 3) for found, seconds in slowest.items()}
    return {**counts, **slow, "resident": resident, "address_space": address, "kinds": by_kind}


def in_a_fresh_process(*arguments, module="tests.storage.test_fuzz"):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        env=HELPERS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check(figures, count):
    assert figures["refused"] + figures["loaded"] == count
    # Changed weights make other valid models: the test reaches that far.
    assert figures["loaded"] > count / 50
    assert figures["refused"] > count / 2
    refused, loaded = (
        {k for k, n in figures["kinds"].items() if n.get(end)} for end in ("refused", "loaded")
    )
    headers = {"header, builder", "header, meaning", "header, values"}
    assert refused >= headers | {"bytes", "bytes, sealed", "compact file, sealed", "into", "decoder"}
    assert loaded >= {"bytes, sealed", "compact file, sealed", "into", "decoder"}
    assert loaded & headers
    assert max(figures["slowest_refused_s"], figures["slowest_loaded_s"]) < SECONDS
    assert max(figures["resident"], figures["address_space"]) <= MAX_BYTES


@needs_proc
def test_two_thousand_changed_files():
    check(in_a_fresh_process(2000, 0), 2000)


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_changed_files():
    """A hundred thousand take a quarter of an hour now: that is the long command above."""
    check(in_a_fresh_process(10_000, 1), 10_000)


def write_hog(path, seed):
    """Write a file that decodes to 100 MB: a network as wide as allowed, with a scale for every weight."""
    header, _ = take_apart(seed)
    header["builder"][1].update(fc1=4096, fc2=4096)
    shapes, size = {"fc1": (4096, 784), "fc2": (4096, 4096), "fc3": (3, 4096)}, 0
    for tensor in header["tensors"]:
        layer, leaf = tensor[0].split(".")
        rows, columns = shapes[layer]
        tensor[1] = [rows, columns] if leaf == "weight" else [rows]
        size += (2 * rows * columns + 7) // 8 + 4 * rows * columns if leaf == "weight" else 4 * rows
    path.write_bytes(put_together(header, bytes(size)))  # codes of zero bits are the lowest, the scales 0.0


def load_measured(small, large, limit):
    """Say by how much the peak grew when a large file was loaded after a small one."""
    torch.set_num_threads(1)
    load(small)
    before = peak()
    load(large, max_bytes=limit)
    return [now - then for now, then in zip(peak(), before, strict=True)]


@needs_proc
def test_a_file_that_uses_its_limit_up_stays_within_it(tmp_path):
    seed, _ = encode(quantized(network("lenet_300_100"), Symmetric(2, PerGroup(1))), plain=True)
    (tmp_path / "small.clab").write_bytes(seed)
    write_hog(tmp_path / "large.clab", seed)
    needed = 5 * (784 * 4096 + 4096 * 4096 + 3 * 4096)  # a byte for each code, four for each scale
    limit = needed + 5_000_000  # what is packed of the largest layer, and the small rest
    growth = in_a_fresh_process("limit", tmp_path / "small.clab", tmp_path / "large.clab", limit)
    assert needed * 0.95 < growth[0] <= limit
    assert growth[1] <= limit


@needs_proc
@pytest.mark.parametrize("coder", ["huffman", "range", "context"])
@pytest.mark.parametrize("share", [0.2, 0.95])
def test_what_is_coded_is_read_within_the_limit_too(coder, share, tmp_path):
    """The limit that lets a file pass covers what its planes take while they are read."""
    wide = thinned(models.build("lenet_300_100", {"fc1": 1500, "fc2": 1500}), share)
    for path, model in (("small", network("lenet_300_100")), ("large", wide)):
        data, _ = encode(quantized(model, Symmetric(4)), coders=[coder])
        (tmp_path / path).write_bytes(data)
    entries = contents(data)
    needed = sum(entry.bytes_in_memory for entry in entries) + max(entry.bytes_to_read for entry in entries)
    limit = needed + 1_000_000  # the header, and the working space that load() leaves aside
    growth = in_a_fresh_process("limit", tmp_path / "small", tmp_path / "large", limit)
    assert growth[0] <= limit


if __name__ == "__main__":
    if sys.argv[1] == "limit":
        print(json.dumps(load_measured(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
