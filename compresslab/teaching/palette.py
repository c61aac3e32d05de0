"""One palette for all figures: Okabe and Ito's, without the yellow that vanishes on white.

Colour-blind readers tell these apart. Blue and vermilion have a contrast of at least 3 to 1 against
white and against black.
"""

BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
PURPLE, SKY, BLACK = "#cc79a7", "#56b4e9", "#000000"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = "osD^vPX"  # colour is never the only difference
FADED = "#b8b8b8"
