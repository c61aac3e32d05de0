"""What the exercises that ask for a function expect, by their names; a letter behind names a step."""

from collections.abc import Mapping

from compresslab.exercises.capstone_tasks import PRICE_FOR, RANKED, UNBEATEN
from compresslab.exercises.counting_tasks import AT_ONE_PLACE, MACS, MARKED, MASKS, POSITIONS, SIZES
from compresslab.exercises.graph_tasks import MEAN_OF, MEANS, OUTPUTS, ROOT, ROOTS, TIED
from compresslab.exercises.grid_tasks import CODES, END, ERRORS, ROWS, SCALES, WITH_ENDS
from compresslab.exercises.neuron_tasks import BURIED, NEW_BIAS, SAYS, SCORED, SEEN, TAYLOR
from compresslab.exercises.number_tasks import BEGIN, GROUP_ERROR, INSIDE, LEVELS, SIGN, SIGNS
from compresslab.exercises.packing_tasks import (
    BYTE,
    FIVES,
    HALF_STEPS,
    HALVES_AWAY,
    HALVES_UP,
    LEVELS_OF,
    NEAREST,
    RESCALED,
    TRITS,
)
from compresslab.exercises.pruning_tasks import COST, ELASTIC, GROUPS, KEPT, MASK, SLOPE
from compresslab.exercises.rate_tasks import BITS, CHEAPEST, SETTLED
from compresslab.exercises.reading_tasks import CHANCE, FIRST, READ, SIGNS_OF, SUMS_OF, WORDS
from compresslab.exercises.repair_tasks import AFTER, ALONE, HELPED
from compresslab.exercises.search_tasks import FIRST_STEP, PRICE, SPENT
from compresslab.exercises.speed_tasks import LEAST, MOVED, ROOF
from compresslab.exercises.task import Task
from compresslab.exercises.teacher_tasks import NEAR

TASKS: Mapping[str, Task] = {
    "01-3a": POSITIONS,
    "01-3b": AT_ONE_PLACE,
    "01-3": MACS,
    "02-3a": SCALES,
    "02-3b": CODES,
    "02-3": ROWS,
    "03-3a": WITH_ENDS,
    "03-3b": ERRORS,
    "03-3": END,
    "04-3a": BYTE,
    "04-3b": FIVES,
    "04-3": TRITS,
    "05-3a": LEVELS_OF,
    "05-3b": NEAREST,
    "05-3": HALF_STEPS,
    "06-3a": GROUP_ERROR,
    "06-3b": BEGIN,
    "06-3": LEVELS,
    "07-3a": SIGN,
    "07-3b": INSIDE,
    "07-3": SIGNS,
    "08-3a": HALVES_UP,
    "08-3b": HALVES_AWAY,
    "08-3": RESCALED,
    "09-3a": SIZES,
    "09-3b": MARKED,
    "09-3": MASKS,
    "10-3a": COST,
    "10-3b": SLOPE,
    "10-3": ELASTIC,
    "11-3a": GROUPS,
    "11-3b": MASK,
    "11-3": KEPT,
    "12-3a": OUTPUTS,
    "12-3b": MEAN_OF,
    "12-3": MEANS,
    "13-3a": SEEN,
    "13-3b": SCORED,
    "13-3": TAYLOR,
    "14-3a": SAYS,
    "14-3b": NEW_BIAS,
    "14-3": BURIED,
    "15-3a": ROOT,
    "15-3b": TIED,
    "15-3": ROOTS,
    "16-3a": SIGNS_OF,
    "16-3b": SUMS_OF,
    "16-3": CHANCE,
    "17-3": NEAR,
    "18-3a": WORDS,
    "18-3b": FIRST,
    "18-3": READ,
    "19-3a": ALONE,
    "19-3b": HELPED,
    "19-3": AFTER,
    "20-3a": PRICE,
    "20-3b": FIRST_STEP,
    "20-3": SPENT,
    "21-3a": MOVED,
    "21-3b": ROOF,
    "21-3": LEAST,
    "22-3a": RANKED,
    "22-3b": UNBEATEN,
    "22-3": PRICE_FOR,
    "23-3a": BITS,
    "23-3b": CHEAPEST,
    "23-3": SETTLED,
}
