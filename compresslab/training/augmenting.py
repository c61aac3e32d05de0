"""See an image a little otherwise each time, so that few images teach more."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Images = Float[Tensor, "images channels height width"]


def random_affine(
    images: Images,
    generator: torch.Generator,
    degrees: float = 15.0,
    translate: float = 0.08,
    scale: float = 0.15,
    shear: float = 15.0,
) -> Images:
    """Turn, move, resize and slant every image a little, each by its own draw.

    Why: 3,500 digits are few; a slightly turned 7 is still a 7. The whole batch is one call, cheaper
    than the network that reads it. What comes in from outside is black.

    Args:
        generator: draws uniformly, on the CPU.
        degrees: largest rotation.
        translate: largest shift, as a share of the side.
        scale: largest change of size, as a share.
        shear: largest slant in degrees.
    """
    limits = torch.tensor([math.radians(degrees), math.radians(shear), scale, 2 * translate, 2 * translate])
    draws = (2 * torch.rand(len(images), 5, generator=generator) - 1) * limits
    angle, slant, size, right, down = draws.unbind(1)
    cos, sin, tan, size = angle.cos(), angle.sin(), slant.tan(), 1 + size
    rows = [cos, cos * tan - sin, right, sin, sin * tan + cos, down]  # rotation times slant, and the shift
    shrink = torch.stack([size, size, torch.ones_like(size)] * 2, 1)
    theta = (torch.stack(rows, 1) / shrink).view(-1, 2, 3).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
