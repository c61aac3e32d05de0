"""What can be turned in a network: schemes and shares of layers, neurons of groups; and what each bears."""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from compresslab.errors import CompressionError
from compresslab.models.inputs import answers_of, fitted
from compresslab.models.parameters import Weight, layer_weights
from compresslab.models.tracing import evaluating, step_by_step
from compresslab.searching.budgets import Space
from compresslab.searching.greedy import Knob
from compresslab.searching.plans import LayerPlan, Plan
from compresslab.storage.container import encode
from compresslab.surgery.graph import graph_of

Made = Callable[[Plan], nn.Module]


class Knobs:
    """List the knobs of a network, and turn a choice of options into a plan.

    Weights that are one tensor have one knob, and so have layers whose neurons go together.

    Args:
        model: the network in floats.
        space: what may be done.
        example: what the network reads, for a batch of one.

    Raises:
        CompressionError: nothing in the network can be treated.
    """

    def __init__(self, model: nn.Module, space: Space, example: Any) -> None:
        self._model, self._example = model, example
        tensors: dict[int, list[Weight]] = {}
        for weight in layer_weights(model):
            if not weight.is_codes:
                tensors.setdefault(id(weight.value), []).append(weight)
        self.weights = {found[0].name: tuple(found) for found in tensors.values()}
        if not self.weights:
            raise CompressionError(
                f"{type(model).__name__:.80} has no layer in floats with weights; search before quantize."
            )
        groups = graph_of(model, example).free if space.neurons else ()
        choices, self._middle = space.choices, (*space.schemes[len(space.schemes) // 2 :][:1], None)[0]
        self.options: dict[str, tuple[Any, ...]] = {}
        self._layers: dict[str, tuple[str, ...]] = {}
        for kind in ("scheme", "weights"):
            for name, found in self.weights.items():
                self._add(f"{name} {kind}", choices[kind], tuple(weight.name for weight in found))
        for group in groups:
            self._add(f"{' + '.join(group.layers)} neurons", choices["neurons"], group.layers)

    def _add(self, name: str, options: tuple[Any, ...], layers: tuple[str, ...]) -> None:
        if len(options) > 1:
            self.options[name], self._layers[name] = options, layers

    @property
    def sizes(self) -> dict[str, int]:
        """How many options each knob has."""
        return {name: len(options) for name, options in self.options.items()}

    def plan(self, choice: Mapping[str, int]) -> Plan:
        """Say what a choice does to each layer."""
        found: dict[str, dict[str, Any]] = {}
        for name, options in self.options.items():
            if option := choice.get(name, 0):
                for layer in self._layers[name]:
                    found.setdefault(layer, {})[name.rpartition(" ")[2]] = options[option]
        order = {weight.name: place for place, weight in enumerate(layer_weights(self._model))}
        ranked = sorted(found, key=lambda layer: order.get(layer, len(order)))
        return Plan({layer: LayerPlan(**found[layer]) for layer in ranked})

    def parts(self, priced: Collection[str]) -> dict[str, float]:
        """Return what each weight costs at the start, as a share of all bytes, or of all multiplications."""
        costs = {"bytes": {name: 4.0 * found[0].value.numel() for name, found in self.weights.items()}}
        if "macs" in priced:
            costs["macs"] = self._macs()
        return {
            f"{kind} {name}": cost / (sum(costs[kind].values()) or 1.0)
            for kind in priced
            for name, cost in costs[kind].items()
        }

    def felt(
        self, made: Made, judged: Callable[[nn.Module], float], base: float, progress: bool
    ) -> tuple[Knob, ...]:
        """Try each option of each knob alone.

        Args:
            made: carries a plan out, with neither training nor repair.
            judged: gives the cost of a network on validation.
            base: the cost of the network as it is.
            progress: show a bar, on a terminal only.
        """
        total = sum(self.sizes.values()) - len(self.sizes)
        with tqdm(total=total, desc="alone", unit="option", disable=None if progress else True) as bar:

            def felt_one(name: str, option: int) -> tuple[float, dict[str, float]]:
                small = made(self.plan({name: option}))
                bar.update()
                return judged(small) - base, self._factors(name, option, small, made)

            return tuple(
                Knob(name, (0.0, *losses), ({}, *factors))
                for name, options in self.options.items()
                for losses, factors in [
                    zip(*(felt_one(name, option) for option in range(1, len(options))), strict=True)
                ]
            )

    def _factors(self, name: str, option: int, small: nn.Module, made: Made) -> dict[str, float]:
        """Return what an option does to the costs of the parts that it changes."""
        kind, layer = name.rpartition(" ")[2], self._layers[name][0]
        if kind == "neurons":
            after = {weight.name: weight.value.numel() for weight in layer_weights(small)}
            shares = {one: after[one] / found[0].value.numel() for one, found in self.weights.items()}
            costs = ("bytes", "macs")
            return {f"{cost} {one}": share for cost in costs for one, share in shares.items() if share < 1}
        owner = next(one for one, found in self.weights.items() if layer in [weight.name for weight in found])
        floats = 4.0 * self.weights[owner][0].value.numel()
        around = _bytes_of(self._model, layer) - floats  # biases, and the little that a file has by itself
        if kind == "scheme":
            return {f"bytes {owner}": max(1.0, _bytes_of(small, layer) - around) / floats}
        share = self.options[name][option]
        tied = self._layers[name]
        coded = [made(Plan(dict.fromkeys(tied, LayerPlan(self._middle, gone)))) for gone in (0.0, share)]
        before, after = (max(1.0, _bytes_of(one, layer) - around) for one in coded)
        return {f"bytes {owner}": after / before}

    def _macs(self) -> dict[str, float]:
        """Estimate the multiplications of each weight: for each of its outputs, once for every place."""
        seen: dict[str, float] = {}

        def watch(weight: Weight, layer: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output if isinstance(output, Tensor) else next(iter(output))
            outputs = max(1, weight.value.shape[weight.axis])
            seen[weight.name] = seen.get(weight.name, 0.0) + tensor.numel() * weight.value.numel() / outputs

        found = [weights[0] for weights in self.weights.values()]
        with ExitStack() as hooks, evaluating(self._model), step_by_step(), torch.no_grad():
            for weight in found:
                hooks.enter_context(weight.layer.register_forward_hook(partial(watch, weight)))
            answers_of(self._model, fitted(self._example, self._model))
        return {weight.name: seen.get(weight.name, 0.0) for weight in found}


def _bytes_of(model: nn.Module, name: str) -> int:
    """Count the bytes of the layer that holds a weight, written by itself and plainly."""
    layer = next(weight.layer for weight in layer_weights(model) if weight.name == name)
    return len(encode(nn.ModuleList([layer]), plain=True)[0])
