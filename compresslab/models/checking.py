"""What may a model be? One place decides, for every verb, before anything of the model is used."""

import copy
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from compresslab.errors import CompressionError

DEEPEST = 100  # levels of modules in modules: to copy one, Python takes six calls of the thousand it has
_PLAIN = (Tensor, nn.Parameter)
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_COMPUTED = {  # the parameters behind a weight that torch computes before every call
    ("_orig",): "torch.nn.utils.prune.remove (a mask) or remove_spectral_norm",
    ("_g", "_v"): "torch.nn.utils.remove_weight_norm",
}


def check_model(model: Any) -> None:
    """Refuse what no verb can work on, with the remedy.

    Half, bfloat16 and float64 are fine, and so is any device.

    Raises:
        CompressionError: it is no module, a wrapper around one, nested too deep, or a name or a tensor in it
            is of a kind that cannot be copied, measured and saved.

    >>> check_model(nn.Linear)
    Traceback (most recent call last):
    compresslab.errors.CompressionError: The class Linear was given for a model; give a torch.nn.Module.
    """
    if not isinstance(model, nn.Module):
        kind = (
            f"The class {model.__name__:.80}" if isinstance(model, type) else f"A {type(model).__name__:.80}"
        )
        raise CompressionError(f"{kind} was given for a model; give a torch.nn.Module.")
    for path, module in _modules(model):
        kind, where = type(module).__name__, f"Module {path!r:.80}" if path else "The model"
        inner = "_orig_mod" if "_orig_mod" in module._modules else "module"
        if inner == "_orig_mod" or isinstance(module, _PARALLEL):
            raise CompressionError(
                f"{where} is a wrapper ({kind}); give what it wraps, .{inner}, and wrap the result again."
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise CompressionError(f"{where} is compiled by torch.jit; give the module it was made from.")
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            _check_name(name, where)
            if tensor is not None and (problem := _problem(tensor)):
                raise CompressionError(f"{where} holds {name!r}, which {problem}.")


def copy_of(model: nn.Module) -> nn.Module:
    """Check a model and copy it: what every verb that returns a new model starts from.

    A tensor with a gradient history that a forward method left on a module (its last output, an attention
    map) cannot be copied as such; the copy holds its numbers.

    Raises:
        CompressionError: as ``check_model``, or torch computes a weight anew before every call.
    """
    check_model(model)
    memo: dict[int, Any] = {}
    for path, module in _modules(model):
        for name, value in vars(module).items():
            for endings, remedy in _COMPUTED.items():
                if isinstance(value, Tensor) and all(name + end in module._parameters for end in endings):
                    raise CompressionError(
                        f"{name!r} of module {path!r:.80} is computed anew before every call, so a change "
                        f"to it would be lost; make it permanent first: {remedy}."
                    )
            memo |= {id(one): one.detach().clone() for one in _tensors(value) if one.grad_fn is not None}
    return copy.deepcopy(model, memo)


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Go through every module once, without recursion."""
    seen, waiting = {id(model)}, [("", model, 0)]
    while waiting:
        path, module, depth = waiting.pop()
        if depth > DEEPEST:
            raise CompressionError(
                f"The model nests modules more than {DEEPEST} levels deep, below {path[:40]!r}; "
                "put some of the inner layers side by side."
            )
        yield path, module
        for name, child in module._modules.items():
            _check_name(name, f"Module {path!r:.80}" if path else "The model")
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{path}.{name}" if path else name, child, depth + 1))


def _check_name(name: str, where: str) -> None:
    if not name.isprintable() or len(name) > 100:
        raise CompressionError(f"{where} holds the name {name!r:.80}; give up to 100 letters, all printable.")


def _problem(tensor: Tensor) -> str:
    """Say what is the matter with a parameter or a buffer; "" for nothing."""
    if is_lazy(tensor):
        return "has no shape yet; run the model once on an example first"
    if type(tensor) not in _PLAIN:
        return f"is a {type(tensor).__name__:.80}, a subclass of Tensor; put a plain tensor in its place"
    if tensor.is_meta:
        return "is on the meta device, without numbers; use to_empty(device='cpu') and load weights first"
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout}); put its to_dense() in its place, zeros cost little in a file"
    if tensor.is_complex():
        return f"holds complex numbers ({tensor.dtype}); keep two real tensors in its place"
    return ""


def _tensors(value: Any, depth: int = 3) -> Iterator[Tensor]:
    """Yield the tensors in what a forward method may leave on a module: one, or some in containers."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, Mapping | list | tuple):
        for one in list(value.values() if isinstance(value, Mapping) else value):
            yield from _tensors(one, depth - 1)
