"""Remember a run of training: its best weights, and a file from which it goes on."""

import os
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compresslab.errors import CompressionError


class Run:
    """Hold what a run has seen, and all that its next step depends on.

    Args:
        settings: what two halves of one run must have in common.
    """

    def __init__(self, model: nn.Module, engine: Any, schedule: Any, generator: Any, settings: Any) -> None:
        self.holders: dict[str, Any] = {"model": model, "engine": engine, "schedule": schedule}
        self.generator, self.settings = generator, list(settings)
        self.record: list[tuple[float, ...]] = []
        self.best, self.weights = 0, {}

    def note(self, loss: float, *judged: float, keep: bool) -> None:
        """Write down an epoch, and copy its weights where none was better."""
        self.record.append((loss, *judged))
        if not judged or judged[1] <= min(cost for *_, cost in self.record):
            self.best = len(self.record)
            if keep and judged:
                self.weights = deepcopy(self.holders["model"].state_dict())

    def restore(self) -> int:
        """Put the best weights into the model, where they are kept, and return the epoch it then has."""
        if not self.weights:
            return len(self.record)
        self.holders["model"].load_state_dict(self.weights)
        return self.best

    def write(self, path: str | Path) -> None:
        """Write the state to a file; one that is there is replaced at once or not at all."""
        own = {name: getattr(self, name) for name in ("settings", "record", "best", "weights")}
        states = {name: holder.state_dict() for name, holder in self.holders.items()}
        unfinished = Path(f"{path}.{os.getpid()}.part")
        try:
            torch.save({**own, **states, "chance": self.generator.get_state()}, unfinished)
            unfinished.replace(path)
        except (OSError, RuntimeError) as error:  # torch says so of a folder that is not there
            unfinished.unlink(missing_ok=True)
            raise CompressionError(f"The state of a run cannot be written to {path}: {error}.") from error

    def read(self, path: str | Path) -> None:
        """Go on from a file; one that is not there is a run that has not begun.

        Raises:
            CompressionError: it is no state of this run.
        """
        if not Path(path).exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["settings"] != self.settings:
                raise CompressionError(
                    f"The run in {path} has epochs, batch size, lr and steps {state['settings']}, this one "
                    f"{self.settings}; ask for the same, or give another file."
                )
            for name, holder in self.holders.items():
                holder.load_state_dict(state[name])
            self.generator.set_state(state["chance"])
            for name in ("record", "best", "weights"):
                setattr(self, name, state[name])
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CompressionError(
                f"{path} holds no state of this run: {reason:.200}. Give another file, or delete it to begin "
                "anew."
            ) from error
