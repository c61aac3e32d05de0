"""What do hidden layers say? Match those of a student to a teacher's, through a learned map where needed."""

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError, one_of
from compresslab.models.inputs import shapes_in
from compresslab.models.tracing import step_by_step

Answers = Mapping[str, Tensor]  # of layers, by name


@dataclass(frozen=True)
class Features:
    """Let named layers of a student answer as those of its teacher: a mean squared error at each.

    Where the widths differ, a linear map to the teacher's is learned, too; the student holds none of it.

    Args:
        layers: from names in the student to names in the teacher; ``{"": ""}`` matches the answers
            themselves, of any task.
        strength: what one unit of the error costs, in units of the loss; above zero.
        axis: where the neurons or channels lie.

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
        if not isinstance(self.strength, int | float) or not 0 < self.strength < math.inf:
            raise CompressionError(
                f"Features were asked at the strength {self.strength!r:.80}; give a number above zero."
            )
        object.__setattr__(self, "layers", dict(self.layers))

    def of(self, student: Answers, teacher: Answers, maps: nn.ModuleList | None = None) -> Float[Tensor, ""]:
        """Return the strength times the sum of the errors, from what layers answered, by name."""
        errors = []
        for place, (own, theirs) in enumerate(self.layers.items()):
            found, wanted = student[own], teacher[theirs].detach().to(student[own])
            mapped = found if maps is None else maps[place](found)
            if mapped.shape != wanted.shape:
                raise CompressionError(
                    f"The student's layer {own!r:.80} answers in shape {shapes_in(found)}, the teacher's "
                    f"{theirs!r:.80} in {shapes_in(wanted)}; a learned map changes axis {self.axis} alone, "
                    "so match layers whose other axes agree."
                )
            errors.append(functional.mse_loss(mapped, wanted))
        return self.strength * torch.stack(errors).sum()

    def maps(self, student: Answers, teacher: Answers, seed: int) -> nn.ModuleList:
        """Return what brings each layer to the teacher's width: a linear map, or nothing where they agree."""
        generator, found = torch.Generator().manual_seed(seed), nn.ModuleList()
        for own, theirs in self.layers.items():
            answers = student[own], teacher[theirs]
            inside = all(-one.dim() <= self.axis < one.dim() for one in answers)
            widths = [one.shape[self.axis] for one in answers] if inside else [0, 0]
            needed = widths[0] != widths[1]
            found.append(Along(widths, self.axis, student[own], generator) if needed else nn.Identity())
        return found


class Along(nn.Linear):
    """A linear map along any axis: of channels, it is a convolution of one pixel."""

    def __init__(self, widths: list[int], axis: int, like: Tensor, generator: torch.Generator) -> None:
        super().__init__(widths[0], widths[1], device="meta", dtype=like.dtype)
        self.to_empty(device=like.device)
        self.axis = axis
        for parameter in self.parameters():  # drawn as torch does, but not from the world's generator
            drawn = torch.empty(parameter.shape).uniform_(-1, 1, generator=generator)
            parameter.data.copy_(drawn / math.sqrt(self.in_features))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(self.axis, -1)).movedim(-1, self.axis)


@contextmanager
def heard(model: nn.Module, names: Collection[str], whose: str, key: Any) -> Iterator[dict[str, Tensor]]:
    """Hear what layers (``""`` is all) answer while a network runs; of one that runs twice, the first."""
    found, layers = {}, dict(model.named_modules())

    def hear(name: str, answer: Any) -> None:
        parts = dict(enumerate(answer)) if isinstance(answer, tuple | list) else answer
        part = parts.get(key) if isinstance(parts, Mapping) else answer
        if not isinstance(part, Tensor):
            raise CompressionError(
                f"{name or 'All'!r:.80} of the {whose} answers with {shapes_in(answer)}; name a layer that "
                "gives one tensor, or say which part of an answer is meant, key=..."
            )
        found.setdefault(name, part.clone())  # what follows may change it in place

    with ExitStack() as hooks, step_by_step():
        for name in names:
            layer = layers[one_of(name, layers, f"layer of the {whose}")]
            hooks.enter_context(layer.register_forward_hook(lambda *said, name=name: hear(name, said[-1])))
        yield found
    if missing := [name for name in names if name not in found]:
        raise CompressionError(
            f"The layer {missing[0]!r:.80} of the {whose} did not run; name one that does."
        )
