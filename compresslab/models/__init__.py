"""What is made small? Networks, how they are built, and one way to look into a run."""

from compresslab.models.architectures import Network
from compresslab.models.builders import BUILDERS, article, build, builder_of, lenet5, lenet_300_100, residual
from compresslab.models.checking import check_model, copy_of
from compresslab.models.inputs import (
    Inputs,
    answers_of,
    call,
    each_tensor,
    fitted,
    in_our_words,
    rows_of,
    shapes_in,
)
from compresslab.models.parameters import Weight, assigned, channel_axis, layer_weights
from compresslab.models.shapes import shapes_of
from compresslab.models.tracing import (
    LayerTracer,
    Watching,
    arguments_of,
    device_of,
    evaluating,
    has_hooks,
    step_by_step,
    trace,
)

# fmt: off
__all__ = [
    "BUILDERS", "Inputs", "LayerTracer", "Network", "Watching", "Weight", "answers_of", "arguments_of",
    "article", "assigned", "build", "builder_of", "call", "channel_axis", "check_model", "copy_of",
    "device_of", "each_tensor", "evaluating", "fitted", "has_hooks", "in_our_words", "layer_weights",
    "lenet5", "lenet_300_100", "residual", "rows_of", "shapes_in", "shapes_of", "step_by_step", "trace",
]
# fmt: on
