"""What does a network take? One tensor, several in order, or several by keyword."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.tracing import arguments_of, device_of

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Run a network: a mapping holds its keywords, a tuple or a list its arguments in order."""
    args, named = arguments_of(inputs)
    return model(*args, **named)


def answers_of(model: nn.Module, inputs: Inputs) -> Any:
    """Run a network on inputs that were brought to where it is and to its precision.

    Raises:
        CompressionError: the network's own code fails on them.
    """
    with in_our_words(model, inputs):
        return call(model, fitted(inputs, model))


@contextmanager
def in_our_words(model: nn.Module, inputs: Any) -> Iterator[None]:
    """Turn what a network's own code, or an objective's, raises into a CompressionError."""
    try:
        yield
    except CompressionError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CompressionError(
            f"{type(model).__name__:.80} fails on inputs of shape {shapes_in(inputs)}: {reason:.200}. Give "
            "it what it was built for: one tensor, a tuple in the order of its arguments, or a mapping by "
            "keyword; and its objective the targets that it compares."
        ) from error


def fitted(inputs: Any, model: nn.Module) -> Any:
    """Bring every tensor to the device of a model, and floats to its precision where it has only one."""
    held = list(model.parameters()) or list(model.buffers())
    precisions = {tensor.dtype for tensor in held if tensor.is_floating_point()}
    device, precision = device_of(model), precisions.pop() if len(precisions) == 1 else None
    return each_tensor(inputs, lambda t: t.to(device, precision if t.is_floating_point() else None))


def each_tensor(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return a nest of tuples, lists and mappings with every tensor changed.

    >>> import torch
    >>> each_tensor({"a": torch.ones(1), "b": (torch.zeros(1), 3)}, lambda t: t + 1)
    {'a': tensor([2.]), 'b': (tensor([1.]), 3)}
    """
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: each_tensor(one, change) for key, one in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [each_tensor(one, change) for one in tree]
        return tuple(parts) if isinstance(tree, tuple) else parts
    return tree


def rows_of(tree: Any) -> list[int]:
    """Return the length of the first axis of every tensor in a nest: where all agree, it counts examples."""
    found: list[int] = []
    each_tensor(tree, lambda t: found.append(len(t) if t.dim() else 1))
    return found


def shapes_in(tree: Any) -> str:
    """Write down the shapes of a nest of tensors, for a message.

    >>> import torch
    >>> shapes_in((torch.zeros(2, 3), torch.zeros(4)))
    '((2, 3), (4,))'
    """
    return f"{each_tensor(tree, lambda t: tuple(t.shape))!r:.100}"
