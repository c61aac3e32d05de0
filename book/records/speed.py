"""Time networks in torch, ONNX Runtime and OpenVINO on the machine at hand, for chapter 21.

Run from the root of the repository, on a quiet machine: python book/records/speed.py
With --brief it only shows that the rows can be had, also on a busy machine: few rounds, little teaching,
nothing compiled, and the processor's own time in place of the clock's. The record says so.
The whole takes less than eight minutes of one core.

One thread computes. The networks are the article's and the residual one, with all their neurons and with
half of them (cut by the Taylor criterion, then taught by the whole network). Files for runtimes come from
export_onnx; 8 bits from ONNX Runtime's static tool (per channel, unsigned activations, ranges from 256
training digits), from its dynamic tool, and from chapter 08. LeNet-300-100 shows what zeros are worth. What a
machine lacks is a row that says so.

Rows are timed in turn, round by round, so that a busy moment meets all of them. A row's time is the median of
the rounds, its spread their quartiles. The limits are torch's own products of two matrices and its copy of an
array: the fastest of all rounds. On a chip with AMX a second process measures the products again with these
units switched off, by the processor's own time; --without-amx does only that, for the record that is there.
At the end the script prints which marks hold.
"""

import argparse
import copy
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor, nn

import compresslab as cl
from compresslab import checkpoints, criteria, data
from compresslab.deploying import bytes_of_onnx, export_onnx, open_onnx, quantize_onnx
from compresslab.measuring import count_macs
from compresslab.pruning import NofM
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.FOLDER / "speed.json"
BATCHES = (1, 64)
NUMBERS = ("float32", "int8")  # of the limits without AMX
SIDES = (512, 1024)  # rows of the square matrices
COPIED = {"cache": 2**17, "memory": 2**24}  # numbers of the array that is copied
EPOCHS = {"article": 5, "residual": 8}  # of teaching the half network
NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}  # oneDNN, which multiplies for torch, reads it once
ROUNDS, LEAST_MS = 41, 1.0  # a reading repeats short runs until they take so long together
FEW_ROUNDS, FEW_EPOCHS = 5, 2  # with --brief, and of products without AMX
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")
CHIP = ("amx_int8", "amx_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
# times faster than eager and than ONNX Runtime, both in floats with all neurons, at 64 images with AMX
MARKS = {"article": (15, 4), "residual": (8, 5)}
OF_THE_LIMIT = 0.7  # without AMX

Run = Callable[[Tensor], Tensor]
digits = data.digits()


@dataclass
class Row:
    """One way to run a network. What is missing on this machine has no run, and says why."""

    network: str
    neurons: str
    numbers: str
    runs_in: str
    size: int = 0
    zeros: str = "none"
    run: Run | None = None
    missing: str = ""
    times: dict[int, list[float]] = field(default_factory=lambda: {batch: [] for batch in BATCHES})

    def told(self) -> dict:
        """Return the row as the record holds it."""
        names = ("network", "neurons", "zeros", "numbers", "runs_in")
        found: dict = {name.replace("_", " "): getattr(self, name) for name in names}
        if self.run is None:
            return {**found, "missing": self.missing}
        found |= {"bytes": self.size, "right": read_by(self.run)}
        for batch, times in self.times.items():
            low, _, high = quantiles(times, n=4) if len(times) > 1 else (times[0],) * 3
            found[f"ms at {batch}"] = [round(one, 4) for one in (median(times), low, high)]
        return found


def read_by(run: Run) -> int:
    """Count the test digits that are read, 64 at a time: what was compiled for a length stays at it."""
    right = 0
    for images, labels in zip(digits.test.images.split(64), digits.test.labels.split(64), strict=True):
        full = torch.cat([images, images.new_zeros(64 - len(images), *images.shape[1:])])
        right += int((run(full)[: len(labels)].argmax(1) == labels).sum())
    return right


# ------------------------------------------------------------------ ways to run a network


def half_of(network: nn.Module, epochs: int) -> nn.Module:
    """Cut half of the neurons of every layer, and let the whole network teach the rest."""
    half = cl.prune_neurons(network, criteria.taylor, 0.5, batches=digits.train[:512])
    cl.distill(half, network, digits, epochs=epochs, progress=False)
    return half


def in_torch(network: nn.Module, dtype: torch.dtype = torch.float32) -> Run:
    network = copy.deepcopy(network).eval()
    network = network if dtype == torch.float32 else network.to(dtype)
    return lambda images: network(images.to(dtype)).float()


def compiled(network: nn.Module) -> Run:
    """Compile for each length of batch, with the weights as constants: as much as the runtimes know."""
    if not any(map(shutil.which, ("g++", "clang++", "c++", "cl"))):
        raise LookupError("no C++ compiler is here, which torch.compile needs")
    run = torch.compile(copy.deepcopy(network).eval(), dynamic=False, options={"freezing": True})
    for batch in BATCHES:
        run(digits.test.images[:batch])
    return run


def in_openvino(path: Path, precision: str) -> Run:
    import openvino

    asked = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    asked["ENABLE_CPU_PINNING"] = False  # the other rows may change their core, too
    core = openvino.Core()
    if precision not in openvino_can(core):
        raise LookupError(f"this chip has no {precision}")
    request = core.compile_model(core.read_model(path), "CPU", asked).create_infer_request()
    return lambda images: torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0])


def openvino_can(core) -> set[str]:
    """Return the precisions in which OpenVINO computes here: of bf16 the chip must say so."""
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {"f32"} | ({"bf16"} if "BF16" in able else set())


def openvino_chooses(path: Path) -> str:
    """Return in what OpenVINO computes where nobody asks."""
    try:
        import openvino
    except ModuleNotFoundError:
        return "not installed"
    core = openvino.Core()
    return (
        core.compile_model(core.read_model(path), "CPU").get_property("INFERENCE_PRECISION_HINT").to_string()
    )


def made(row: Row, make: Callable[[], Run]) -> Row:
    """Give a row its run, or the reason why there is none."""
    try:
        with torch.inference_mode():
            row.run = make()
            row.run(digits.test.images[:64])
    except ModuleNotFoundError as error:
        row.run, row.missing = None, f"{error.name} is not installed"
    except LookupError as error:
        row.run, row.missing = None, str(error.args[0])
    except Exception as error:  # whatever a compiler or runtime does not do here
        row.run, row.missing = None, f"{row.runs_in} raises {type(error).__name__}"
    print(row.network, row.neurons, row.numbers, row.runs_in, row.missing, flush=True)
    return row


def left_out(network: nn.Module) -> Run:
    raise LookupError("left out by --brief")


def rows_of(
    name: str, neurons: str, network: nn.Module, folder: Path, compile_it: Callable[[nn.Module], Run]
) -> Iterator[Row]:
    """Make every way to run a network, with the files that it takes."""
    seen = digits.train.images[:256]
    stem = f"{name} {neurons}"
    floats, static, dynamic, ours = (
        folder / f"{stem} {kind}" for kind in ("floats", "int8", "dynamic", "08")
    )
    integers = cl.quantize_activations(network, seen)
    export_onnx(network, floats)
    export_onnx(integers, ours)
    quantize_onnx(floats, static, seen)
    quantize_onnx(floats, dynamic, None)
    size = {one: bytes_of_onnx(one) for one in (floats, static, dynamic, ours)}
    held, coded = (len(encode(one, plain=True)[0]) for one in (network, integers))

    def row(numbers: str, runs_in: str, size: int, make: Callable[[], Run]) -> Row:
        return made(Row(name, neurons, numbers, runs_in, size), make)

    yield row("float32", "torch", held, lambda: in_torch(network))
    yield row("bfloat16", "torch", held, lambda: in_torch(network, torch.bfloat16))
    yield row("int8 of chapter 08", "torch", coded, lambda: integers)
    yield row("float32", "torch.compile", held, lambda: compile_it(network))
    kinds = {"float32": floats, "int8": static, "int8 dynamic": dynamic, "int8 of chapter 08": ours}
    for numbers, path in kinds.items():
        yield row(numbers, "ONNX Runtime", size[path], lambda path=path: open_onnx(path))
    for numbers, path, precision in (
        ("float32", floats, "f32"),
        ("bfloat16", floats, "bf16"),
        ("int8", static, "f32"),
    ):
        yield row(
            numbers, "OpenVINO", size[path], lambda path=path, asked=precision: in_openvino(path, asked)
        )


def with_zeros(folder: Path) -> Iterator[Row]:
    """Make LeNet-300-100 with zeros in three places: in a dense kernel, in sparse rows, in 2:4."""
    name, network = "lenet_300_100", checkpoints.load("lenet_300_100")
    kinds = {
        "none": network,
        "90 %": cl.prune_weights(network, criteria.magnitude, 0.9),
        "2:4": cl.prune_weights(network, criteria.magnitude, pattern=NofM(2, 4)),
    }
    for zeros, one in kinds.items():
        held, path = len(encode(one)[0]), folder / f"zeros {zeros}"
        export_onnx(one, path)
        yield made(Row(name, "all", "float32", "torch", held, zeros), lambda one=one: in_torch(one))
        runtime = Row(name, "all", "float32", "ONNX Runtime", bytes_of_onnx(path), zeros)
        yield made(runtime, lambda path=path: open_onnx(path))
    sparse = {"90 %": ("torch, CSR", in_csr), "2:4": ("torch, 2:4", in_two_of_four)}
    for zeros, (runs_in, make) in sparse.items():
        row = Row(name, "all", "float32", runs_in, len(encode(kinds[zeros])[0]), zeros)
        yield made(row, lambda one=kinds[zeros], make=make: make(one))


def in_csr(network: nn.Module) -> Run:
    """Multiply by the weights that are not zero, each with its column: compressed sparse rows."""
    layers = [network.get_submodule(name) for name in ("fc1", "fc2", "fc3")]
    held = [(layer.weight.detach().to_sparse_csr(), layer.bias[:, None]) for layer in layers]

    def run(images: Tensor) -> Tensor:
        x = images.flatten(1).T
        for place, (weight, bias) in enumerate(held):
            x = weight @ x + bias
            x = x.relu() if place < 2 else x
        return x.T

    return run


def in_two_of_four(network: nn.Module) -> Run:
    """Ask torch for its 2:4 kernels, which it has for GPUs."""
    try:
        torch.sparse.to_sparse_semi_structured(network.get_submodule("fc2").weight.detach())
    except RuntimeError as error:
        raise LookupError(f"torch says: {str(error).splitlines()[0]:.120}") from None
    raise LookupError("torch has 2:4 kernels here, which this script does not time yet")


# ------------------------------------------------------------------ the machine


def limits() -> dict[str, tuple[Callable[[], object], int]]:
    """Return what shows the limits of the machine, each with the products or bytes of one call."""
    found: dict[str, tuple[Callable[[], object], int]] = {}
    for side in SIDES:
        one, two = (torch.randn(side, side) for _ in range(2))
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            pair = one.to(dtype), two.to(dtype)
            found[f"{name} {side}"] = (lambda pair=pair: pair[0] @ pair[1]), side**3
        codes = [(40 * matrix).clamp(-128, 127).to(torch.int8) for matrix in (one, two)]
        found[f"int8 {side}"] = (lambda codes=codes: torch._int_mm(*codes)), side**3
    for place, size in COPIED.items():
        arrays = torch.empty(size), torch.ones(size)
        found[place] = (lambda arrays=arrays: arrays[0].copy_(arrays[1])), 2 * 4 * size
    return found


def best_of(shown: dict[str, tuple[Callable[[], object], int]], best: dict[str, float], clock) -> None:
    """Keep for each limit the most that a round reached, in products or bytes a second."""
    for name, (call, amount) in shown.items():
        kind = name.split()[0]
        call()
        best[kind] = max(best.get(kind, 0.0), amount / seconds(call, 3, clock))


def in_billions(best: dict[str, float]) -> dict[str, float]:
    return {name: round(value / 1e9, 2) for name, value in best.items()}


def limits_without_amx(rounds: int) -> dict[str, float]:
    """Measure the products of floats and of int8 in a process whose torch leaves AMX alone."""
    command = [sys.executable, __file__, "--products", str(rounds)]
    done = subprocess.run(command, env=os.environ | NO_AMX, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def products(rounds: int) -> dict[str, float]:
    # bfloat16 is left out: without its units torch falls back to a reference, which says nothing of a chip
    shown, best = {name: one for name, one in limits().items() if name.split()[0] in NUMBERS}, {}
    for _ in range(rounds):
        best_of(shown, best, time.process_time)  # a busy machine has no part in the ratio
    return in_billions(best)


def machine() -> dict:
    """Say what computed, without its name in a network."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = fields.get("flags", "").split()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "chip": fields.get("model name") or platform.processor() or platform.machine(),
        "has": [one for one in CHIP if one in flags],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "versions": versions,
    }


def load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def counts(network: nn.Module) -> dict[str, int]:
    """Count for one image the products, and the numbers that layers read and write; and the weights."""
    found = {"macs": count_macs(network, digits.test.images[:1]), "weights": 0, "activations": 0}

    def seen(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        found["weights"] += layer.get_parameter("weight").numel()
        found["activations"] += given[0].numel() + answer.numel()

    layers = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(seen) for layer in layers]
    network(digits.test.images[:1])
    for handle in handles:
        handle.remove()
    return found


# ------------------------------------------------------------------ the clock


def seconds(run: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(times):
        run()
    return max(clock() - start, 1e-9) / times  # some clocks stand still for long


def timed(rows: list[Row], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Fill the rows with times, round by round, and return the limits: billions a second."""
    shown, best = limits(), dict[str, float]()
    calls = {
        (place, batch): (lambda run=row.run, x=digits.test.images[:batch]: run(x))
        for place, row in enumerate(rows)
        if row.run is not None  # a compiled network has no truth of its own
        for batch in BATCHES
    }
    often = {}
    for key, call in calls.items():
        call()
        often[key] = min(50, max(1, round(LEAST_MS / 1000 / seconds(call, 3, clock))))
    for done in range(rounds):
        best_of(shown, best, clock)
        for (place, batch), call in calls.items():
            call()  # what another row left in the caches is not this row's
            rows[place].times[batch].append(1000 * seconds(call, often[place, batch], clock))
        print(f"round {done + 1} of {rounds}, load {load()}", flush=True)
    return in_billions(best)


# ------------------------------------------------------------------ the marks


def marks(record: dict) -> list[str]:
    """Say for both networks how much faster half the neurons and fewer bits are at 64 images."""
    said, amx = [], {"amx_int8", "amx_bf16"} & set(record["machine"]["has"])

    def ms(network: str, **asked: str) -> dict[str, float]:
        wanted = {"network": network, **asked}
        found = [row for row in record["rows"] if wanted.items() <= row.items() and "ms at 64" in row]
        return {f"{row['numbers']} in {row['runs in']}": row["ms at 64"][0] for row in found}

    for name, asked in MARKS.items():
        whole, half = ms(name, neurons="all"), ms(name, neurons="half")
        small = {way: time for way, time in half.items() if not way.startswith("float32")}
        way = min(small, key=small.__getitem__)
        eager, runtime = whole["float32 in torch"], whole["float32 in ONNX Runtime"]
        times = eager / small[way], runtime / small[way]
        line = f"{name}: half, {way}: {times[0]:.1f} times torch, {times[1]:.1f} times ONNX Runtime"
        if amx:
            holds = times[0] >= asked[0] and times[1] >= asked[1]
            said.append(f"{line}; asked {asked[0]} and {asked[1]}: {'holds' if holds else 'MISSED'}")
            continue
        share = record["limits"]["int8"] / record["limits"]["float32"]
        allowed = runtime / half["float32 in ONNX Runtime"] * share
        holds = times[1] >= OF_THE_LIMIT * allowed
        said.append(f"{line}; {OF_THE_LIMIT} of {allowed:.1f} asked: {'holds' if holds else 'MISSED'}")
    return said


def write(record: dict) -> None:
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help="see that the rows can be had")
    parser.add_argument("--without-amx", action="store_true", help="measure that limit alone")
    parser.add_argument("--products", type=int, default=0, help=argparse.SUPPRESS)  # in a process of its own
    asked, start = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    if asked.products:
        print(json.dumps(products(asked.products)))
        return
    if asked.without_amx:
        record = records.load("speed") | {"without AMX": {"load": load(), **limits_without_amx(FEW_ROUNDS)}}
        write(record)
        return
    brief = asked.brief
    rounds = FEW_ROUNDS if brief else ROUNDS
    clock = time.thread_time if brief else time.perf_counter
    before, rows, counted = load(), list[Row](), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in MARKS:
            whole = checkpoints.load(name)
            half = half_of(whole, FEW_EPOCHS if brief else EPOCHS[name])
            for neurons, network in {"all": whole, "half": half}.items():
                counted[f"{name}, {neurons}"] = counts(network)
                rows += rows_of(name, neurons, network, folder, left_out if brief else compiled)
        rows += with_zeros(folder)
        counted["lenet_300_100, all"] = counts(checkpoints.load("lenet_300_100"))
        chosen = openvino_chooses(folder / "article all floats")
        with torch.inference_mode():
            best = timed(rows, rounds, clock)
            told = [row.told() for row in rows]
    record = {
        "machine": machine(),
        "load": [before, load()],
        "brief": brief,
        "rounds": rounds,
        "limits": best,
        "openvino by itself": chosen,
        "counts": counted,
        "rows": told,
    }
    record["marks"] = marks(record)
    if {"amx_int8", "amx_bf16"} & set(record["machine"]["has"]):
        record["without AMX"] = {"load": load(), **limits_without_amx(FEW_ROUNDS)}
    write(record)
    print("\n".join(record["marks"]), f"{time.perf_counter() - start:.0f} s", sep="\n")


if __name__ == "__main__":
    main()
