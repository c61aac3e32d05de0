"""Let many processes search together, and lose nothing when one is killed: trials in Optuna's storages."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from compresslab.errors import CompressionError
from compresslab.searching.storages import WORKER, gone, me, opening, quiet, shown, storage

Choice = dict[str, int]
_FOUND, _ERROR, _MARK = "found", "error", "compresslab"
_DOUBLES = 3  # draws of known plans in a row, before a neighbour of the best is taken
_TURNS = 50  # in the search of a plan that is not known


class Study:
    """Ask Optuna for choices, let each be judged, and keep what was found.

    A trial of a process that is gone is made again. On another machine nobody can see whether it is gone:
    there a trial counts as lost after a day.

    Args:
        where: None for memory, a path for a journal file, or the URL of a database.
        name: of the study, where a database holds several.
        mark: a fingerprint of what is searched; a study with another mark is refused.
        sizes: how many options each knob has.
        seed: of the sampler and of the first draws.

    Raises:
        CompressionError: the study cannot be opened, or is one of another search.
    """

    def __init__(
        self, where: str | Path | None, name: str, mark: str, sizes: Mapping[str, int], seed: int
    ) -> None:
        import optuna  # slow to import, and only needed here

        self._optuna, self._sizes, self._seed = optuna, dict(sizes), seed
        self._states = optuna.trial.TrialState
        self._random = random.Random(seed)
        ranges = optuna.distributions.IntDistribution
        self._ranges: dict[str, Any] = {knob: ranges(0, size - 1) for knob, size in sizes.items() if size > 1}
        with quiet(optuna), opening(where):
            self._study = optuna.create_study(
                storage=storage(optuna, where), study_name=name, load_if_exists=True, direction="minimize"
            )
            known = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = optuna.samplers.TPESampler(seed=seed + 7919 * known, n_startup_trials=5)
            marked = self._study.user_attrs.get(_MARK)
            if marked is None:
                self._study.set_user_attr(_MARK, mark)
        if marked not in (None, mark):
            raise CompressionError(
                f"The study {name!r:.80} at {shown(where)} belongs to another search (mark {marked!s:.20}, "
                f"here {mark}): the network, the data, the budget, the space or the training differs. Give "
                "the same as before, or another path or name."
            )

    def explore(
        self,
        judge: Callable[[Choice], tuple[float, dict[str, Any]]],
        trials: int,
        first: Sequence[Choice] = (),
        after: Callable[[], Any] = lambda: None,
    ) -> None:
        """Make trials until the study has as many, those of other processes counted.

        Args:
            judge: gives the number to be made small, and what shall be kept beside it.
            trials: in all.
            first: choices to begin with.
            after: called after each trial.
        """
        with quiet(self._optuna):
            self._enqueue(first)
            doubles = 0
            while len(self._claimed()) < trials or self._revived(trials):
                trial = self._study.ask(self._ranges)
                trial.set_user_attr(WORKER, me())
                choice = self._whole(trial.params)
                before = self._before(trial)
                if any(self._whole(self._asked(other)) == choice for other in before):
                    self._drop(trial)
                    doubles += 1
                    if doubles >= _DOUBLES:
                        if (fresh := self._fresh()) is None:
                            break
                        self._enqueue([fresh])
                    continue
                if len(before) >= trials:
                    self._drop(trial)
                    break
                doubles = 0
                self._make(trial, choice, judge)
                after()

    @property
    def found(self) -> Iterator[tuple[int, Choice, dict[str, Any]]]:
        """Yield number, choice and what was kept, for every finished trial."""
        for trial in self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE,)):
            yield trial.number, self._whole(trial.params), trial.user_attrs[_FOUND]

    @property
    def error(self) -> str | None:
        """What the last trial that was refused said; None where none was."""
        trials = self._study.get_trials(deepcopy=False)
        return next((t.user_attrs[_ERROR] for t in reversed(trials) if _ERROR in t.user_attrs), None)

    def _make(self, trial: Any, choice: Choice, judge: Callable[..., Any]) -> None:
        try:
            value, found = judge(choice)
        except CompressionError as error:  # this plan cannot be; the next may
            trial.set_user_attr(_ERROR, str(error))
            self._drop(trial)
            return
        except BaseException:  # a notebook's stop button: the plan is not lost
            self._drop(trial)
            self._enqueue([choice])
            raise
        trial.set_user_attr(_FOUND, {**found, "objective": value})
        self._study.tell(trial, value)

    def _revived(self, trials: int) -> bool:
        """Take up the trials of processes that are gone; return whether there is work again.

        A process that was killed after it had found something has its trial finished; otherwise the trial is
        given up and its choice drawn again.
        """
        while True:
            running = self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,))
            for trial in running:
                if gone(trial):
                    self._take_up(trial)
            if not any(WORKER not in trial.user_attrs for trial in running):
                return len(self._claimed()) < trials
            time.sleep(0.5)  # killed, or about to sign

    def _take_up(self, trial: Any) -> None:
        kept = trial.user_attrs.get(_FOUND)
        try:
            if kept is not None:
                self._study.tell(trial.number, kept["objective"])
            else:
                self._study.tell(trial.number, state=self._states.FAIL)
                asked = self._asked(trial)
                if set(asked) == set(self._ranges):
                    self._enqueue([asked])
        except ValueError:  # another process was faster
            return

    def _enqueue(self, choices: Sequence[Choice]) -> None:
        """Ask for choices that no trial has made, or is about to make."""
        known = [self._asked(trial) for trial in self._claimed(waiting=True)]
        for choice in choices:
            wanted = {knob: option for knob, option in choice.items() if knob in self._ranges}
            if wanted not in known:
                self._study.enqueue_trial(wanted)
                known.append(wanted)

    @staticmethod
    def _asked(trial: Any) -> Choice:
        return trial.system_attrs.get("fixed_params") or trial.params

    def _claimed(self, waiting: bool = False) -> list[Any]:
        """Return the trials that are made or being made; those that were refused count too."""
        states = {self._states.COMPLETE, self._states.RUNNING, *([self._states.WAITING] * waiting)}
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state in states or _ERROR in trial.user_attrs]

    def _before(self, trial: Any) -> list[Any]:
        """Return the claimed trials before one; wait for those that another process is still choosing."""
        while True:
            before = [other for other in self._claimed(waiting=True) if other.number < trial.number]
            running = [other for other in before if other.state is self._states.RUNNING]
            if all(set(self._asked(other)) >= set(self._ranges) or gone(other) for other in running):
                return before
            time.sleep(0.02)

    def _drop(self, trial: Any) -> None:
        self._study.tell(trial, state=self._states.FAIL)

    def _whole(self, params: Mapping[str, Any]) -> Choice:
        """Return a choice for every knob, also for those with one option."""
        return {knob: int(params.get(knob, 0)) for knob in self._sizes}

    def _fresh(self) -> Choice | None:
        """Return a choice that is not known: a neighbour of the best, else any; None where all are."""
        known = {tuple(self._whole(self._asked(trial)).values()) for trial in self._claimed(waiting=True)}
        done = [(kept["objective"], choice) for _, choice, kept in self.found]
        best = min(done, key=lambda one: one[0])[1] if done else dict.fromkeys(self._sizes, 0)
        for _ in range(_TURNS):
            best = turned(best, self._sizes, self._random)  # further away with each turn
            if tuple(best.values()) not in known:
                return best
        ranges = (range(size) for size in self._sizes.values())
        found = next((options for options in product(*ranges) if options not in known), None)
        return None if found is None else dict(zip(self._sizes, found, strict=True))


def turned(choice: Choice, sizes: Mapping[str, int], chance: random.Random) -> Choice:
    """Turn one or two knobs by one option, up or down."""
    found = dict(choice)
    free = [knob for knob, size in sizes.items() if size > 1]
    for knob in chance.sample(free, min(len(free), chance.choice((1, 2)))):
        steps = [found[knob] + step for step in (-1, 1) if 0 <= found[knob] + step < sizes[knob]]
        found[knob] = chance.choice(steps)
    return found
