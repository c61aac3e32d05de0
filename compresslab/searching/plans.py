"""What is done to each layer: a plan is a value that can be read, kept as JSON, and applied."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from compresslab.errors import CompressionError, fraction
from compresslab.measuring.tables import html_table, text_table
from compresslab.models.checking import check_model, copy_of
from compresslab.pruning.criteria import magnitude
from compresslab.pruning.neuron_criteria import taylor
from compresslab.pruning.neurons import prune_neurons
from compresslab.pruning.weights import hold_zeros, prune_weights
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.scheme import Scheme
from compresslab.quantization.schemes import KMeans, scheme_from_dict
from compresslab.repairing.mending import mend
from compresslab.repairing.reconstructing import reconstruct
from compresslab.training.batching import Batches, ImageData, Split, held
from compresslab.training.metrics import Objective

Train = Callable[..., Any]
LOOKED_AT = 512  # images of a data set that say which neurons go


@dataclass(frozen=True)
class LayerPlan:
    """Say what is done to one layer.

    Args:
        scheme: how its weights become codes; None leaves them in floats.
        weights: the share of its weights that become zeros, the smallest ones.
        neurons: the share of its neurons that are cut out, by the criterion of Taylor's expansion.

    >>> LayerPlan(weights=0.9)
    LayerPlan(scheme=None, weights=0.9, neurons=0.0)
    """

    scheme: Scheme | None = None
    weights: float = 0.0
    neurons: float = 0.0

    def __post_init__(self) -> None:
        if self.scheme is not None and not isinstance(self.scheme, Scheme):
            raise CompressionError(
                f"{self.scheme!r:.80} was given for a scheme; write it with its parentheses, Symmetric(8)."
            )
        fraction(self.weights, "a layer's share of weights")
        fraction(self.neurons, "a layer's share of neurons")


@dataclass(frozen=True, repr=False)
class Plan:
    """Hold what is done to every layer of a network; layers that are not named stay as they are.

    Chapter: 20.

    >>> from compresslab import Symmetric
    >>> plan = Plan({"fc1": LayerPlan(Symmetric(3), weights=0.5), "fc2": LayerPlan(Symmetric(8))})
    >>> plan
    a plan for 2 layers
    layer  codes              weights gone  neurons gone
    fc1    Symmetric, 3 bits          50 %
    fc2    Symmetric, 8 bits
    >>> Plan.from_json(plan.to_json()) == plan
    True
    """

    layers: Mapping[str, LayerPlan] = field(hash=False)

    def __post_init__(self) -> None:
        for name, layer in self.layers.items():
            if not isinstance(name, str) or not isinstance(layer, LayerPlan):
                raise CompressionError(
                    f"A plan was given {layer!r:.80} for {name!r:.80}; give a LayerPlan for a layer's name."
                )
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def apply(
        self,
        model: nn.Module,
        data: ImageData | Batches | None = None,
        *,
        train: Train | None = None,
        repair: Batches | None = None,
        objective: Objective | None = None,
    ) -> nn.Module:
        """Do what the plan says, to a new model: cut neurons, set weights to zero, make codes.

        Args:
            model: the network in floats; it is not changed.
            data: what decides which neurons go, 512 images of a data set's training split or all of the
                batches given; not needed by a plan that leaves the neurons.
            train: called as ``train(model, after_step=...)`` on the pruned network, and again through the
                codes; for example ``functools.partial(cl.train, data=digits, epochs=2)``.
            repair: images, without labels, by which least squares mend in the place of training: what stays
                takes over what goes, and codes are chosen so that layers answer as before (chapter 19). In a
                layer that loses a share of its weights the codes are the nearest, which keep its zeros.
            objective: the loss that decides about neurons, as in ``prune_neurons``.

        Raises:
            CompressionError: the network has no such layer, neurons shall go and there is no data, both train
                and repair were given, or what a verb refuses.
        """
        if train is not None and repair is not None:
            raise CompressionError("Both train and repair were given; a plan takes one of them.")
        small = self._thinned(model, data, objective, repair)
        gone = {name: one.weights for name, one in self.layers.items() if one.weights}
        if gone:
            before, small = small, prune_weights(small, magnitude, gone)
            small = small if repair is None else mend(small, before, repair)
        if train is not None and small is not model:
            train(small, after_step=hold_zeros(small) if gone else None)
        schemes = {name: one.scheme for name, one in self.layers.items() if one.scheme is not None}
        if not schemes:
            check_model(small)
            return copy_of(small) if small is model else small
        if train is not None:
            small = self._learned(small, schemes, bool(gone), train)
        if repair is not None:
            chosen = {name: schemes.pop(name) for name in list(schemes) if name not in gone}
            small = reconstruct(small, chosen, repair, plain=True) if chosen else small
        return quantize(small, schemes) if schemes else small

    def _thinned(self, model: nn.Module, data: Any, objective: Any, repair: Any = None) -> nn.Module:
        """Return the network without the neurons that go; itself where all stay."""
        shares = {name: one.neurons for name, one in self.layers.items() if one.neurons}
        if not shares:
            return model
        seen = held(looked_at(data))
        if not seen:
            raise CompressionError(
                f"A share of the neurons of {', '.join(shares):.200} shall go, and which ones the data says; "
                "give it: plan.apply(model, data)."
            )
        mended = None if repair is None else partial(mend, reference=model, batches=repair)
        how = {"batches": seen, "objective": objective, "before_cut": mended}
        return prune_neurons(model, taylor, shares, minimum=1, **how)

    @staticmethod
    def _learned(model: nn.Module, schemes: Mapping[str, Scheme], zeros: bool, train: Train) -> nn.Module:
        """Train through the codes: the values of codebooks, and the weights behind every other code."""
        books = {name: one for name, one in schemes.items() if isinstance(one, KMeans)}
        others = {name: one for name, one in schemes.items() if name not in books}
        student = fake_quantize(model, books, learned_step=True) if books else model
        student = fake_quantize(student, others) if others else student
        train(student, after_step=hold_zeros(student) if zeros else None)
        return student

    @property
    def of_neurons(self) -> "Plan":
        """The same without what leaves shapes alone: the network that it runs as."""
        return Plan({k: LayerPlan(neurons=one.neurons) for k, one in self.layers.items() if one.neurons})

    def to_json(self) -> str:
        """Write the plan as JSON, to be kept beside the file."""
        layers = {name: _to_dict(layer) for name, layer in self.layers.items()}
        return json.dumps({"layers": layers}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read back what ``to_json`` wrote, from anywhere.

        Raises:
            CompressionError: it is no plan.
        """
        try:
            layers = json.loads(text)["layers"].items()
            return cls({name: _from_dict(layer) for name, layer in layers})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, CompressionError):
                raise
            raise CompressionError(
                f"A plan as JSON was expected, found {text!r:.80} ({error!s:.80}); write one with to_json()."
            ) from None

    def _rows(self) -> list[tuple[str, str, str, str]]:
        def shown(share: float) -> str:
            return f"{100 * share:.3g} %" if share else ""

        return [
            (name, _scheme_name(one.scheme), shown(one.weights), shown(one.neurons))
            for name, one in self.layers.items()
        ]

    @property
    def _caption(self) -> str:
        return f"a plan for {len(self.layers)} layer{'s' * (len(self.layers) != 1)}"

    def __repr__(self) -> str:
        return f"{self._caption}\n{text_table(_HEADER, self._rows(), right=(2, 3))}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, _HEADER, self._rows(), right=(2, 3))


_HEADER = ("layer", "codes", "weights gone", "neurons gone")


def looked_at(data: Any) -> Any:
    """Return what says which neurons go: of a data set the first images of its training split."""
    seen = data.train if isinstance(data, ImageData) else data
    return seen[:LOOKED_AT] if isinstance(seen, Split) else seen


def _scheme_name(scheme: Scheme | None) -> str:
    return (
        "floats" if scheme is None else f"{type(scheme).__name__}, {scheme.bits} bit{'s' * (scheme.bits > 1)}"
    )


def _to_dict(layer: LayerPlan) -> dict[str, Any]:
    scheme = {} if layer.scheme is None else {"scheme": layer.scheme.to_dict()}
    shares = {"weights": layer.weights, "neurons": layer.neurons}
    return scheme | {name: share for name, share in shares.items() if share}


def _from_dict(values: dict[str, Any]) -> LayerPlan:
    scheme = values.get("scheme")
    others = {name: value for name, value in values.items() if name != "scheme"}
    return LayerPlan(None if scheme is None else scheme_from_dict(scheme), **others)
