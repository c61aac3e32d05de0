"""What do hidden layers say? Match those of a student to a teacher's, through a learned map where needed."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError, one_of
from compresslab.models.inputs import shapes_in

Answers = Mapping[str, Tensor]  # of layers, by name


@dataclass(frozen=True)
class Features:
    """Let named layers of a student answer as those of its teacher: a mean squared error at each.

    Where a student's layer is narrower or wider, a linear map is learned that brings its answer to the
    teacher's width. It serves the training alone; the student holds none of it.

    Args:
        layers: from names in the student to names in the teacher; ``""`` is the whole network, so that
            ``Features({"": ""})`` matches the answers themselves, of any task.
        strength: what one unit of the error costs, in units of the loss; above zero.
        axis: where the neurons or channels lie.

    Raises:
        CompressionError: no layers, what is no mapping, or a strength that is not above zero.

    Source: Romero et al., FitNets, ICLR 2015, equation 3 (arXiv:1412.6550).
    Chapter: 17.

    >>> same = Features({"fc1": "fc1"}, strength=0.5)
    >>> same.of({"fc1": torch.tensor([[1.0, 2.0]])}, {"fc1": torch.tensor([[1.0, 4.0]])})
    tensor(1.)
    """

    layers: Mapping[str, str] = field(hash=False)
    strength: float = 1.0
    axis: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.layers, Mapping) or not self.layers:
            raise CompressionError(
                f"Features of the layers {self.layers!r:.80} were asked; give a mapping from layers of the "
                'student to layers of the teacher, such as {"fc1": "fc1"}.'
            )
        if isinstance(self.strength, bool) or not 0 < self.strength < math.inf:
            raise CompressionError(
                f"Features were asked at the strength {self.strength!r:.80}; give a number above zero."
            )
        object.__setattr__(self, "layers", dict(self.layers))

    def of(self, student: Answers, teacher: Answers, maps: nn.ModuleList | None = None) -> Float[Tensor, ""]:
        """Return the strength times the mean squared errors, summed over the layers.

        Args:
            student: what its layers answered, by name.
            teacher: what the teacher's layers answered, by name.
            maps: for each pair of layers a map to the teacher's width; None where all widths agree.

        Raises:
            CompressionError: answers of two layers differ in more than the axis that a map can change.
        """
        errors = []
        for place, (own, theirs) in enumerate(self.layers.items()):
            found, wanted = student[own], teacher[theirs].detach().to(student[own])
            mapped = found if maps is None else self._mapped(found, maps[place])
            if mapped.shape != wanted.shape:
                raise CompressionError(
                    f"The student's layer {own!r:.80} answers in shape {shapes_in(found)}, the teacher's "
                    f"{theirs!r:.80} in {shapes_in(wanted)}; a learned map changes axis {self.axis} alone, so "
                    "match layers whose other axes agree."
                )
            errors.append(functional.mse_loss(mapped, wanted))
        return self.strength * torch.stack(errors).sum()

    def maps(self, student: Answers, teacher: Answers, seed: int) -> nn.ModuleList:
        """Return a map for each pair of layers: a linear one where the widths differ, else none.

        Args:
            student: what its layers answered to some example, by name.
            teacher: what the teacher's layers answered to it, by name.
            seed: of the first weights, drawn as those of any linear layer.
        """
        generator, found = torch.Generator().manual_seed(seed), nn.ModuleList()
        for own, theirs in self.layers.items():
            narrow, wide = student[own], teacher[theirs]
            if not (-narrow.dim() <= self.axis < narrow.dim() == wide.dim()):
                found.append(nn.Identity())  # the comparison that follows says what is wrong
                continue
            widths = narrow.shape[self.axis], wide.shape[self.axis]
            found.append(nn.Identity() if widths[0] == widths[1] else _fresh(*widths, narrow, generator))
        return found

    def _mapped(self, answer: Tensor, change: nn.Module) -> Tensor:
        return (
            answer
            if isinstance(change, nn.Identity)
            else change(answer.movedim(self.axis, -1)).movedim(-1, self.axis)
        )


@contextmanager
def heard(model: nn.Module, names: Iterable[str], whose: str) -> Iterator[dict[str, Any]]:
    """Hear what layers answer while a network runs; of a layer that runs twice, the last answer.

    Args:
        whose: how a message calls the network.

    Raises:
        CompressionError: there is no such layer, it did not run, or it answers with no tensor.
    """
    found, layers, held = {}, dict(model.named_modules()), []
    try:
        for name in dict.fromkeys(names):
            one_of(name, layers, f"layer of the {whose}")

            def hear(layer: nn.Module, inputs: Any, answer: Any, name: str = name) -> None:
                # what follows may change the answer in place
                found[name] = answer.clone() if isinstance(answer, Tensor) else answer

            held.append(layers[name].register_forward_hook(hear))
        yield found
        for name in names:
            if not isinstance(found.get(name), Tensor):
                said = f"answers with {shapes_in(found[name])}" if name in found else "did not run"
                raise CompressionError(
                    f"The layer {name!r:.80} of the {whose} {said}; name one that gives one tensor."
                )
    finally:
        for handle in held:
            handle.remove()


def _fresh(inputs: int, outputs: int, like: Tensor, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer drawn from a generator; torch's own would draw from the world's."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = torch.empty(parameter.shape).uniform_(-1, 1, generator=generator)
            parameter.copy_(drawn / math.sqrt(inputs))
    return layer
