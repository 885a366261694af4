"""Fill batches: which pictures should take a neighbour size so that no size is short of a batch and the fewest pictures fill none.

Sizes stand in a line, from narrow to wide, and a picture may go to the next one on either side. The search over how many go
across each gap of the line is exact, up to the bounds of `fill`: first the fewest sizes that are short, then the fewest pictures
beyond whole batches, then the fewest sizes that have any, then the least area lost.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from datakit.errors import UsageError
from datakit.geometry import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

# Of a picture's area; what a move costs beside that, so that none is made for nothing.
_FINEST, _A_MOVE = 10_000, 1
# As many pictures go across a gap as fill so many batches, and never more than that many.
_BATCHES, _MOST = 2, 512
LARGEST_BATCH = 1024
# Of its area that a picture may lose where nobody says otherwise.
USUAL_LOSS = 0.1
# More than any sum of costs; two of them still fit into 64 bits.
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Tally:
    """How some pictures fill batches.

    Attributes
    ----------
    short
        Sizes that have pictures, but fewer than a batch.
    left
        Pictures that are left over where each size is dealt out in whole batches.
    partial
        Sizes with any of these.
    """

    short: int
    left: int
    partial: int


def tally(counts: Iterable[int], batch: int) -> Tally:
    """Count what some sizes with so many pictures each leave over."""
    left = [(count, count % batch) for count in counts if count]
    return Tally(sum(count < batch for count, _ in left), sum(rest for _, rest in left), sum(rest > 0 for _, rest in left))


def line_of(sizes: Iterable[Size]) -> tuple[Size, ...]:
    """Return sizes from narrow to wide, of one shape the smaller first."""
    return tuple(sorted(set(sizes), key=lambda size: (size.aspect, size.area)))


def neighbours(line: Sequence[Size], size: Size) -> tuple[Size, ...]:
    """Return the sizes next to one of a line."""
    place = line.index(size)
    return tuple(line[max(0, place - 1) : place]) + tuple(line[place + 1 : place + 2])


def fill(
    line: Sequence[Size],
    homes: Mapping[str, Size],
    losses: Mapping[tuple[str, Size], float],
    batch: int,
    fixed: Mapping[Size, int],
) -> dict[str, Size]:
    """Choose the pictures that take a neighbour size, and which.

    Parameters
    ----------
    line
        The sizes, as `line_of` gives them.
    homes
        The size that each picture has of its own.
    losses
        For each picture and neighbour size that it may take, the share (0 to 1) of its area that this loses.
    batch
        Pictures in a batch, 2 to `LARGEST_BATCH`.
    fixed
        Pictures of each size that stay where they are and count all the same.

    Raises
    ------
    UsageError
        The batch is of another size.
    """
    if not 2 <= batch <= LARGEST_BATCH:
        raise UsageError(f"batches of {batch}: use 2 to {LARGEST_BATCH} pictures")
    counts = Counter(homes.values())
    buckets = [_Bucket(counts[size] + fixed.get(size, 0), {}, {}) for size in line]
    place = {size: number for number, size in enumerate(line)}
    for (name, size), loss in losses.items():
        home = place[homes[name]]
        side = buckets[home].narrower if place[size] < home else buckets[home].wider
        side[name] = _A_MOVE + round(loss * _FINEST)
    most = min(_BATCHES * batch, _MOST)
    choices = [_Choice(bucket, most) for bucket in buckets]
    flows = _flows(buckets, choices, batch)
    moves: dict[str, Size] = {}
    for number, choice in enumerate(choices):
        narrower, wider = choice.chosen(max(0, -flows[number]), max(0, flows[number + 1]))
        moves |= dict.fromkeys(narrower, line[number - 1]) | dict.fromkeys(wider, line[min(number + 1, len(line) - 1)])
    return dict(sorted(moves.items()))


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One size: its pictures, and what those that may go to the size before it and behind it cost."""

    count: int
    narrower: dict[str, int]
    wider: dict[str, int]


class _Choice:
    """What it costs to send so many pictures of one size to one side and so many to the other, at best.

    Where a picture may go to either side, those that go to the narrower one are, sorted by the difference of both costs, all before
    those that go to the wider one: else two could change places at no more cost. So the best of all ways to cut the row in two is it.
    """

    def __init__(self, bucket: _Bucket, most: int) -> None:
        import numpy as np

        narrower, wider = (sorted((cost, name) for name, cost in side.items()) for side in (bucket.narrower, bucket.wider))
        self.most = min(most, len(narrower)), min(most, len(wider))
        # No more of the cheapest can be taken by the other side than go there.
        known = {name for side in (narrower, wider) for _, name in side[: sum(self.most)]}
        row = sorted(known, key=lambda name: (bucket.narrower.get(name, _NEVER) - bucket.wider.get(name, _NEVER), name))
        self._row, self._bucket = row, bucket
        before = _sums([bucket.narrower.get(name) for name in row], self.most[0])
        behind = _sums([bucket.wider.get(name) for name in reversed(row)], self.most[1])[::-1]
        self.cost = np.full((self.most[0] + 1, self.most[1] + 1), _NEVER, np.int64)
        self._cut = np.zeros(self.cost.shape, np.int32)
        # Those that may go to one side alone stand at that end of the row, and no cut there is better than one beside them.
        alone = [sum(name not in other for name in row) for other in (bucket.wider, bucket.narrower)]
        for cut in range(alone[0], len(row) - alone[1] + 1):
            together = np.minimum(before[cut][:, None] + behind[cut][None, :], _NEVER)
            better = together < self.cost
            self.cost[better] = together[better]
            self._cut[better] = cut

    def chosen(self, narrower: int, wider: int) -> tuple[list[str], list[str]]:
        """Return the pictures that go to either side."""
        cut = self._cut[narrower, wider]
        sides = (self._bucket.narrower, self._row[:cut], narrower), (self._bucket.wider, self._row[cut:], wider)
        one, other = (
            [name for _, name in sorted((costs[name], name) for name in row if name in costs)[:number]]
            for costs, row, number in sides
        )
        return one, other


def _sums(costs: Sequence[int | None], most: int) -> list[Integers]:
    """Return, for each start of a row, the sums of its 0 to ``most`` least costs; None costs more than any."""
    import numpy as np

    least: list[int] = []
    found = []
    for cost in (None, *costs):
        if cost is not None:
            insort(least, cost)
            del least[most:]
        sums = np.full(most + 1, _NEVER, np.int64)
        sums[: len(least) + 1] = np.cumsum([0, *least])
        found.append(sums)
    return found


def _flows(buckets: Sequence[_Bucket], choices: Sequence[_Choice], batch: int) -> list[int]:
    """Return how many pictures go across each gap from narrow to wide, negative the other way; the first and the last are walls."""
    import numpy as np

    weights = _weights(choices, batch)
    gaps = [np.zeros(1, np.int64)]
    gaps += [np.arange(-choice.most[0], before.most[1] + 1) for before, choice in pairwise(choices)]
    gaps.append(np.zeros(1, np.int64))
    best, came = np.zeros(1, np.int64), []
    for bucket, choice, into, out in zip(buckets, choices, gaps[:-1], gaps[1:], strict=True):
        number = bucket.count + into[:, None] - out[None, :]
        left = number % batch
        value = weights[0] * ((number > 0) & (number < batch)) + weights[1] * left + weights[2] * (left > 0)
        value = value + choice.cost[np.maximum(0, -into)[:, None], np.maximum(0, out)[None, :]] + best[:, None]
        came.append(value.argmin(axis=0))
        best = np.minimum(value.min(axis=0), _NEVER)
    flows, at = [0], 0
    for steps, gap in zip(reversed(came), reversed(gaps[:-1]), strict=True):
        at = int(steps[at])
        flows.append(int(gap[at]))
    return flows[::-1]


def _weights(choices: Sequence[_Choice], batch: int) -> tuple[int, int, int]:
    """Return what a short size, a picture left over and a size with any weigh, so that all that comes behind cannot outweigh it."""
    number = len(choices)
    partial = 1 + 2 * sum(int(choice.cost[choice.cost < _NEVER].max()) for choice in choices)
    left = partial * (number + 1)
    return left * (number * batch + 1), left, partial
