"""What does a learner's answer tell? Checks with a sentence for each typical mistake, and what they expect.

A chapter writes ``check("02-1", answer)``. Single answers stand in answers.toml, functions in the modules
``*_tasks.py``: a reader who wants to think first leaves both closed.
"""

from compresslab.exercises.answers import AnswerError, questions
from compresslab.exercises.checking import check, check_function
from compresslab.exercises.task import Task
from compresslab.exercises.tasks import TASKS
from compresslab.teaching.showing import claim, show_source

# fmt: off
__all__ = [
    "TASKS", "AnswerError", "Task", "check", "check_function", "claim", "questions", "show_source",
]
# fmt: on
