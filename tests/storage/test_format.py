"""The book's page on the file format is true: its bytes, words, fields and limits are those of the code."""

import json
import re
from pathlib import Path

import msgspec
import torch
from samples import put_together, same, tiny
from torch import nn

from compresslab.coding import contexts, frequencies, lanes, logistic, mixing, planes, ranges, steps
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import arguments, compact, header, limits, strict
from compresslab.storage.container import decode, encode

PAGE = Path(__file__).parents[2].joinpath("book", "format.md").read_text(encoding="utf-8")


def section(title):
    """Return the lines under a title."""
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()


def tables(title):
    """Return the tables of a section: for each, its head's first cell and the rows' cells."""
    found = []
    for line in section(title):
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            found.append(None)
        elif not found or found[-1] is None:
            found.append((cells[0], []))
        elif not set(cells[0]) <= set("-:"):
            found[-1][1].append(cells)
    return [table for table in found if table]


def words(title, head):
    """Return the words that the first column of a table explains, in the order of the page."""
    (rows,) = [rows for first, rows in tables(title) if first == head]
    return [word for cells in rows for word in re.findall(r"`([^`]+)`", cells[0])]


def dumps():
    """Return the files of the page, from their hex: two of the usual form, one compact."""
    blocks = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    return [bytes.fromhex("".join(line[5:52] for line in block.splitlines())) for block in blocks]


def module():
    """The module that the page describes."""
    layer = nn.Linear(3, 2)
    layer.bias.data = torch.tensor([1.0, -2.0])
    codes = torch.tensor([[0, 2, -4], [1, 0, 0]], dtype=torch.int8)
    code = QuantizedTensor(Symmetric(4), codes, {"scale": torch.tensor([0.25])})
    return nn.Sequential(quantized_like(layer, code)).eval()


def written_by_hand(tensor, values):
    """Write the file of the page with JSON, CRC-32 and no code of the package."""
    scheme = {
        "name": "Symmetric",
        "granularity": {"name": "PerTensor"},
        "bits": 4,
        "clip": {"name": "MinMax"},
    }
    content = {"builder": None, "schemes": [scheme], "tensors": [tensor, ["0.bias", [2], "f32"]]}
    text = json.dumps(content, separators=(",", ":"))
    return put_together(text, values + bytes.fromhex("0000803e 0000803f 000000c0"))


def test_the_package_the_page_and_a_writer_by_hand_give_the_same_bytes():
    plain, in_planes, _ = dumps()
    codes = sum(code + 7 << 4 * at for at, code in enumerate((0, 2, -4, 1, 0, 0)))
    assert plain == encode(module())[0] == encode(module(), plain=True)[0]
    assert plain == written_by_hand(["0.weight", [2, 3], "packed", 0], codes.to_bytes(3, "little"))
    tensor = ["0.weight", [2, 3], "coded", 0, "bitmap", 7, 3, [["packed", 6, 1], ["packed", 3, 2]]]
    assert in_planes == written_by_hand(tensor, bytes([0b001110, 9 + 16 * 3, 8]))
    for data in (plain, in_planes):
        again = decode(data, into=nn.Sequential(nn.Linear(3, 2)))
        assert same(again, module())
        assert again[0].weight.tolist() == [[0, 0.5, -1], [0.25, 0, 0]]


def test_every_byte_of_the_example_is_explained_once():
    annotated = [*tables("A whole file, byte by byte"), tables("The compact form")[-1]]
    for data, (_, rows) in zip(dumps(), annotated, strict=True):
        position = 0
        for at, cell, meaning in rows:
            text = cell.strip("`")
            piece = bytes.fromhex(text) if re.fullmatch(r"([0-9a-f]{2} ?)+", text) else text.encode()
            assert int(at) == position
            assert data[position : position + len(piece)] == piece
            assert meaning
            position += len(piece)
        assert position == len(data)


def test_the_page_names_every_field_and_no_other():
    def fields(kind):
        return [field.name for field in msgspec.structs.fields(kind)]

    title = "Fields of the header"
    assert words(title, "field") == fields(header.Content)
    assert words(title, "field of a tensor") == fields(header.Packed) == fields(header.Coded)
    assert words(title, "field of a tensor")[:3] == fields(header.Raw)
    assert words(title, "field of a coding") == fields(planes.Coding)
    assert words(title, "field of a plane") == fields(planes.Stream)


def test_the_page_names_every_word_and_no_other():
    assert words("Fields of the header", "layout") == [*header.DTYPES, *header.WORDS]
    assert words("Ways", "way") == list(planes.WAYS)
    assert words("Coders", "coder") == list(planes.CODERS)


def test_the_limits_of_the_page_are_those_of_the_code():
    ((_, rows),) = tables("Limits")
    assert [int(value.replace(",", "")) for _, value in rows] == [
        *(header.LARGEST_HEADER, strict.DEEPEST, header.LONGEST_NAME, header.LARGEST_RANK),
        *(planes.LARGEST_COUNT, 8, limits.MAX_BYTES, header.HEADER_COST),
        *(strict.LONGEST_NUMBER, limits.WORK, limits.WORK_OF_BYTE),
    ]


def lenet5_with_one_weight():
    """The network that the page describes, all codes but one zero."""
    model = tiny("lenet5", conv1=1, conv2=1, fc1=2, classes=10)
    for name, buffer in model.named_buffers():
        buffer.fill_(0 if name.endswith("codes") else 1 / 16)
    model.conv1.weight_codes.view(-1)[12] = -3
    return model


def test_the_compact_file_of_the_page_is_that_of_the_package():
    data, model = dumps()[2], lenet5_with_one_weight()
    assert encode(model, coding="mixing")[0] == data
    again = decode(data)
    assert again.conv1.weight.view(-1).tolist() == [0] * 12 + [-3 / 16] + [0] * 12
    assert sum(weight.numel() for weight in again.state_dict().values()) - 8 == 116  # beside the scales


def test_the_page_says_the_words_and_numbers_of_the_compact_form():
    found = dict(tables("The compact form"))
    assert [cells[1].strip("`") for cells in found["number"]] == list(arguments.OWN)
    assert [int(cells[0]) for cells in found["number"]] == list(range(len(arguments.OWN)))
    assert [cells[0] for cells in found["byte of a tensor"]] == [
        f"0 to {steps.HIGHEST - steps.LOWEST}",
        *(str(compact.SCALE), str(compact.FLOATS)),
    ]
    text = "\n".join(section("The compact form"))
    for number in (
        *(f"{compact.FORM} plus the version", f"the version is {compact.VERSION} |"),
        *(f"(k - {-steps.LOWEST}) / 8", f"from {-mixing.LARGEST} to {mixing.LARGEST}"),
        *(
            f"above {mixing._COUNTED - 1} at most",
            f"distance from {mixing._COUNTED} in {len(mixing._REST)} bits",
        ),
        *(f"at least {logistic.SURE} and at most {logistic.ONE - logistic.SURE:,}", "40 binary places"),
        *(f"begins at {mixing._SEEN:,} parts of {logistic.ONE:,}", f"{logistic._WEIGHT:,} for the others"),
        *(f"log-odds times {logistic._RATE}", f"at most {logistic._LIMIT}, counts"),
        *(
            f"counts as {mixing.BIT_TIME} micro",
            f"holds {limits.WORK // mixing.BIT_TIME:,} bits",
            "half a bit more",
        ),
        f"as {mixing.VALUE_MEMORY:,} bytes of memory",
    ):
        assert number in text
    assert limits.WORK_OF_BYTE / mixing.BIT_TIME == 0.5
    assert logistic.Writer().range == 1 << 40
    assert logistic._SHARES[3] == logistic.ONE // 5
    assert logistic._TRUST[3] == logistic.ONE * 3 // 4


def test_the_work_of_the_page_is_that_of_the_code():
    text, wide = "\n".join(section("Limits")), (2, 4096)
    assert planes.CODERS["context"].work(wide) == 4096 * 60 + 8192 * 0.06
    assert planes.CODERS["huffman"].work((1, 2047)) == 2047 * 15 + 2047 * 0.05
    assert planes.CODERS["range"].work((1, 1000)) == 1000 * 0.03
    assert planes.CODERS["packed"].work((1, 1000)) == 1000 * 0.005
    for words in (
        "takes 60 microseconds",
        "and 0.06 for",
        "plane 15 for",
        "and 0.05 for",
        "plane 0.03 and",
        "0.005 for",
    ):
        assert words in text


def test_the_numbers_of_the_coders_are_those_of_the_code():
    text = "\n".join(section("Coders"))
    for number in (
        *(f"at most {lanes.LONGEST} bits", f"divided by {lanes._EACH:,}", f"at most {lanes._MOST:,}."),
        *(
            f"pieces of {lanes._PIECE} bits",
            f"at most {frequencies._BITS} bits",
            f"{contexts.CONTEXTS} tables",
        ),
        *(f"longer than {ranges._WIDE:,} ", f"shorter than {ranges._NARROW} "),
    ):
        assert number in text
    ((_, parts),) = tables("Layout")
    assert [int(size) for size, _ in parts[:4]] == [4, 2, 4, 4]
    assert header.PRELUDE.size == 14
    assert f"is {header.VERSION}" in parts[1][1]
