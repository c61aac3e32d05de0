"""Give batch norms the statistics of a network as it is now."""

import copy

import torch
from torch import nn

from compresslab.models.inputs import call, fitted
from compresslab.training.batching import Batches, each, small

_AT_ONCE = 100  # images for one mean and variance


@torch.no_grad()
def remeasure_norms(model: nn.Module, batches: Batches) -> nn.Module:
    """Measure the means and variances of all batch norms anew; no weight changes.

    Why: a convolution that reads fewer channels gives other maps, but the norm after it still subtracts the
    mean of the old ones. Much of what a cut seems to cost is this.

    Args:
        model: a network, cut or changed in another way. It is not changed.
        batches: images of the training split, some hundreds or more; labels are not needed.

    Returns:
        A new model in evaluation mode. Its statistics are plain averages over batches, of which
        large ones are cut into parts of 100 images.

    Raises:
        CompressionError: there are no images.

    Chapter: 15.

    >>> net = nn.BatchNorm1d(1, affine=False)
    >>> seen = torch.tensor([[1.0], [2.0], [3.0]])
    >>> remeasure_norms(net, seen).running_mean, remeasure_norms(net, seen).running_var
    (tensor([2.]), tensor([1.]))
    """
    result = copy.deepcopy(model).eval()
    norms = [layer for layer in result.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then takes the average over all that it has seen
        norm.train()
    for batch in small(each(batches, "remeasure_norms"), _AT_ONCE):
        call(result, fitted(batch.inputs, result))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return result.eval()
