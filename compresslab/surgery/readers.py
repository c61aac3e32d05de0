"""Let layers ignore neurons before these are cut, so that what the readers lose can still be mended."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from compresslab.surgery.cutting import going
from compresslab.surgery.graph import Graph
from compresslab.surgery.units import marked


@torch.no_grad()
def ignoring(model: nn.Module, graph: Graph, gone: Sequence[Bool[Tensor, " _"]]) -> nn.Module:
    """Return a copy in which layers multiply what they read of the marked neurons by zero.

    Why: before a cut, what the readers lose can still be mended (chapter 19). Convolutions in groups read on.

    Args:
        model, graph, gone: as for ``cut``, which raises what this raises.
    """
    stays, result = ~marked(graph.roots, going(graph, gone)), copy.deepcopy(model)
    weights = dict(result.named_parameters())
    for (name, dim), units in graph.slots.items():
        if dim == 1 and name in weights:  # its columns
            weights[name][:, torch.from_numpy(~stays[units]).to(weights[name].device)] = 0
    return result
