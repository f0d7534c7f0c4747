"""The search for the highest rate without a loss, and with a little: MLRsearch.

The algorithm is that of draft-ietf-bmwg-mlrsearch, by its authors' library; the question is that of
RFC 2544, section 26.1. In its terms, the lower bound that is reported has been measured, over the
whole time of a trial, to lose no more than allowed, and the upper bound to lose more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ixy.errors import IxyError

FIRST_TRIALS = 0.1  # part of a trial's time that the first ones take, to come near,
LEAST_TRIAL = 0.05  # s
STEPS = 2  # of trials between these and the full ones
LEAST_LOAD = 1e-6  # of the highest
DEVICE, SENDER, LINK = "device", "sender", "link"
NO_LIMIT = 1e7  # s


class Cancelled(Exception):
    """The search is to end now."""


class Load(NamedTuple):
    """What a trial is to do: packets per second, each way, for so long."""

    pps: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What came of it, both ways together: frames `asked` for, `sent` and `received`; whether the
    sender has `kept` the rate.
    """

    pps: float
    seconds: float
    asked: int
    sent: int
    received: int
    kept: bool

    @property
    def lost(self) -> int:
        """Frames that were sent and did not arrive."""
        return self.sent - self.received

    @property
    def loss_ratio(self) -> float:
        """Of those that were sent."""
        return self.lost / self.sent if self.sent else 0.0

    def says_something(self, loss: float) -> bool:
        """Whether something follows for the device. Without a loss, a sender that paused has not
        asked for enough; but what is lost in spite of pauses would have been lost without them.
        """
        return self.kept or self.loss_ratio > loss


@dataclass(frozen=True)
class Bound:
    """A rate between two bounds (packets per second, each way): the highest that was seen to lose
    no more than `loss`, and the lowest that was seen to lose more; None where none was.
    `limited_by` is what it was that failed above: the device, the sender, or nothing but the link.
    """

    loss: float
    lower: float | None
    upper: float | None
    limited_by: str


@dataclass(frozen=True)
class Rates:
    """What was found for a frame size: the link's rate, what the sender is able to, no-drop and
    partial-drop rate. `complete`: the bounds are as close as was asked for.
    """

    size: int
    line: float
    able: float
    ndr: Bound
    pdr: Bound
    complete: bool
    trials: int


class Search:
    """One search, by trials. Raises IxyError without the package MLRsearch."""

    def __init__(
        self,
        measure: Callable[[Load], Measured],
        *,
        size: int,
        line: float,
        able: float,
        loss: float = 0.005,
        trial: float = 1.0,
        width: float = 0.005,
    ) -> None:
        try:
            import MLRsearch
        except ImportError:
            raise IxyError("a search needs MLRsearch: pip install MLRsearch") from None
        self._library: Any = MLRsearch
        self._measure, self.size, self.line, self.able = measure, size, line, able
        self.highest, self._loss = min(line, able), loss
        self.measured: list[Measured] = []
        first = min(max(FIRST_TRIALS * trial, LEAST_TRIAL), trial)
        self._goals = [
            MLRsearch.SearchGoal(
                loss_ratio=ratio, exceed_ratio=0.0, relative_width=width,
                initial_trial_duration=first, final_trial_duration=trial, duration_sum=trial,
                preceding_targets=STEPS if first < trial else 0, fail_fast=False,
            )
            for ratio in dict.fromkeys((0.0, loss))
        ]  # fmt: skip

    def measure(self, intended_duration: float, intended_load: float) -> Any:
        """What the library asks for. To it, a sender that paused has left out more frames than may
        be lost; as it counts them as such, it goes on below.
        """
        measured = self._measure(Load(intended_load, intended_duration))
        self.measured.append(measured)
        unsent = 0
        if not measured.says_something(self._loss):
            too_many = int(measured.sent * self._loss / (1 - self._loss)) + 1
            unsent = max(measured.asked - measured.sent, too_many)
        return self._library.MeasurementResult(
            intended_duration=intended_duration, intended_load=intended_load,
            offered_count=measured.sent, loss_count=measured.lost,
            intended_count=measured.sent + unsent,
        )  # fmt: skip

    def run(self, limit: float | None = None) -> Rates:
        """Searches, for `limit` s at most; Cancelled passes through."""
        config = self._library.Config(
            goals=self._goals, min_load=self.highest * LEAST_LOAD, max_load=self.highest,
            search_duration_max=max(limit, 1e-3) if limit is not None else NO_LIMIT,
            warmup_duration=None,
        )  # fmt: skip
        controller = self._library.MultipleLossRatioSearch(config=config)
        deadline = time.monotonic() + config.search_duration_max
        complete = True
        try:
            controller.search(measurer=self, debug=_nothing)
        except RuntimeError:  # its word for a search that takes too long
            if time.monotonic() < deadline:
                raise
            complete = False
        bounds = [self._bound(controller, goal) for goal in self._goals]
        return Rates(
            self.size, self.line, self.able, bounds[0], bounds[-1], complete, len(self.measured)
        )

    def _bound(self, controller: Any, goal: Any) -> Bound:
        target = controller.scaling.goal_to_final_target[goal]
        found = controller.database.get_relevant_bounds(target=target)
        lower, upper = (float(each) if each else None for each in (found.clo, found.chi))
        return Bound(goal.loss_ratio, lower, upper, self._who_limits(goal.loss_ratio, upper))

    def _who_limits(self, ratio: float, upper: float | None) -> str:
        if upper is None:
            return LINK if self.line <= self.able else SENDER
        above = [one for one in self.measured if abs(one.pps - upper) < 1e-6 * upper]
        return DEVICE if any(one.loss_ratio > ratio for one in above) else SENDER


def _nothing(_: str) -> None:
    """The library's log is of no use to others."""
