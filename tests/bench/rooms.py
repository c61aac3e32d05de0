"""The rooms of the package, from below: each may import from those before it."""

ROOMS = (
    "models",
    "quantization",
    "integers",
    "training",
    "surgery",
    "coding",
    "storage",
    "measuring",
    "pruning",
    "repairing",
    "searching",
    "deploying",
    "teaching",
    "exercises",
)
