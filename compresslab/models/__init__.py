"""What is made small? Networks, how they are built, and one way to look into a run."""

from compresslab.models.architectures import Network
from compresslab.models.builders import BUILDERS, article, build, builder_of, lenet5, lenet_300_100, residual
from compresslab.models.parameters import Weight, assigned, layer_weights
from compresslab.models.shapes import shapes_of
from compresslab.models.tracing import LayerTracer, Watching, device_of, evaluating, trace

# fmt: off
__all__ = [
    "BUILDERS", "LayerTracer", "Network", "Watching", "Weight", "article", "assigned", "build", "builder_of",
    "device_of", "evaluating", "layer_weights", "lenet5", "lenet_300_100", "residual", "shapes_of", "trace",
]
# fmt: on
