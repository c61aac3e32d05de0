"""Draw the card that other sites show beside a link to the book, from the ends of the ledger.

Run from the root of the repository: python book/tools/card.py
The picture is committed; a test holds its words to the ledger's.
"""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pictures import STATIC, ledger, size_of
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from compresslab.teaching import BLUE, VERMILION

FILE = STATIC / "card.png"
TITLE, WIDTH, HEIGHT = "Small networks", 1200, 630  # pixels, the size that such cards have


def lines() -> list[str]:
    """Return what the card says, from top to bottom.

    >>> lines()[0]
    'Small networks'
    """
    first, last = ledger()[0], ledger()[-1]
    return [
        TITLE,
        *(f"{row['Bytes']} bytes, {row['Accuracy, %']} % of the digits read" for row in (first, last)),
        "A tested book on making neural networks small",
    ]


def card() -> bytes:
    """Return the picture as PNG; its words stand in it as text, too."""
    title, *rows, promise = lines()
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.07, 0.78, title, fontsize=54, weight="bold")
    sizes = [size_of(row) for row in (ledger()[0], ledger()[-1])]
    for height, size, words, colour in zip((0.50, 0.27), sizes, rows, (BLUE, VERMILION), strict=True):
        figure.text(0.07, height + 0.11, words, fontsize=24)
        bar = figure.add_axes((0.07, height, 0.86 * size / max(sizes), 0.075), facecolor=colour)
        bar.set(xticks=[], yticks=[])
        bar.spines[:].set_visible(False)
    figure.text(0.07, 0.1, promise, fontsize=24, color="#505050")
    drawn, stored, words = io.BytesIO(), io.BytesIO(), PngInfo()
    figure.savefig(drawn, format="png", dpi=100)
    words.add_text("Description", "\n".join(lines()))
    Image.open(drawn).convert("RGB").quantize(64).save(stored, "PNG", optimize=True, pnginfo=words)
    return stored.getvalue()


if __name__ == "__main__":
    FILE.write_bytes(card())
