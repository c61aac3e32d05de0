"""What the exercises that ask for a function expect, by their names."""

from collections.abc import Mapping

from compresslab.teaching.counting_tasks import MACS, MASKS, MEANS, ROOTS
from compresslab.teaching.grid_tasks import END, HALF_STEPS, ROWS, TRITS
from compresslab.teaching.number_tasks import LEVELS, RESCALED, SIGNS
from compresslab.teaching.task import Task
from compresslab.teaching.teacher_tasks import NEAR

TASKS: Mapping[str, Task] = {
    "01-3": MACS,
    "02-3": ROWS,
    "03-3": END,
    "04-3": TRITS,
    "05-3": HALF_STEPS,
    "06-3": LEVELS,
    "07-3": SIGNS,
    "08-3": RESCALED,
    "09-3": MASKS,
    "12-3": MEANS,
    "15-3": ROOTS,
    "17-3": NEAR,
}
