"""Nearest points by an index: among a million about as quickly as among a thousand.

A distance is of coordinates (Euclidean), and has a penalty for each name that differs; a name left open differs from
none. Few places are looked for among boxes of boxes of points (bounding volume hierarchy, Guttman 1984), whose names
are coordinates too: whatever lies beyond the nearest that is known to exist is not looked into. Many places that have
the same names are looked for in a k-d tree (Bentley 1975) of the points, to which these names' penalties are a
coordinate more. Both find what a scan of all points would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from service.engine.table import FloatArray, IntArray, combinations

OPEN, UNHEARD = -1, -2  # codes of names: left open, and in no point's vocabulary
POINTS_A_BOX, BOXES_A_BOX, BOXES_ON_TOP = 16, 16, 512
ASKED_AT_ONCE = 64  # places whose boxes are looked into together
TREE_FROM = 100  # places that have the same names: from here on a tree of their own is built sooner than they are found
ROUGHLY = 2.0  # times farther than the nearest that a rough distance may be


@dataclass(frozen=True, eq=False)
class Places:
    """Where q questions are asked from."""

    coordinates: FloatArray  # (q, f)
    names: IntArray  # (q, w), codes in the points' vocabularies, or `OPEN`, or `UNHEARD`

    def take(self, index: IntArray | slice) -> Places:
        """The places at `index`."""
        return Places(self.coordinates[index], self.names[index])


@dataclass(frozen=True, eq=False)
class Points:
    """m points that are looked for, ordered so that near ones lie together."""

    rows: IntArray  # (m,), what each is called
    values: FloatArray  # (f + w, m), coordinates, then codes of names
    penalties: FloatArray  # (w,), squared
    boxes: tuple[tuple[FloatArray, FloatArray], ...]  # least and greatest values (f + w, b) of each, coarse ones first

    @classmethod
    def of(cls, rows: IntArray, coordinates: FloatArray, names: IntArray, penalties: Sequence[float]) -> Points:
        """An index of points: what they are called (m,), where they are (m, f), the codes of their names (m, w)."""
        unordered, squared = np.hstack([coordinates, names]), np.square(np.array(penalties))
        order = np.concatenate(_halved(np.arange(len(rows)), unordered, squared))
        values = np.ascontiguousarray(unordered[order].T)
        levels, size = [(values, values)], POINTS_A_BOX
        while len(levels) == 1 or levels[-1][0].shape[1] > BOXES_ON_TOP:
            low, high = levels[-1]
            begins = np.arange(0, low.shape[1], size)
            levels.append((np.minimum.reduceat(low, begins, axis=1), np.maximum.reduceat(high, begins, axis=1)))
            size = BOXES_A_BOX
        return cls(rows[order], values, squared, tuple(levels[:0:-1]))

    def nearest(self, places: Places, k: int) -> list[tuple[IntArray, FloatArray]]:
        """The rows of the `k` nearest points of each place and their squared distances, nearest first."""
        found: list[tuple[IntArray, FloatArray]] = []
        for begin in range(0, len(places.names), ASKED_AT_ONCE):
            asked, point, squared = self._near(places.take(slice(begin, begin + ASKED_AT_ONCE)), k)
            order = np.lexsort((self.rows[point], squared, asked))
            point, squared, ends = self.rows[point[order]], squared[order], [*_begins(asked).tolist(), len(asked)]
            found += [
                (point[start : min(start + k, end)], squared[start : min(start + k, end)])
                for start, end in pairwise(ends)
            ]
        return found

    def distances(self, places: Places, sides_of: Sequence[float] = ()) -> FloatArray:
        """Distance of each place to its nearest point, shape (q,).

        With `sides_of` it may be up to `ROUGHLY` times as much, but lies on the same side of each of these.
        """
        result = np.empty(len(places.names))
        first, kind = combinations(list(places.names.T - UNHEARD))
        counts = np.bincount(kind, minlength=len(first))
        few = np.flatnonzero((counts < TREE_FROM)[kind])
        for begin in range(0, len(few), ASKED_AT_ONCE):
            part = few[begin : begin + ASKED_AT_ONCE]
            asked, _, squared = self._near(places.take(part), 1)
            result[part] = np.sqrt(np.minimum.reduceat(squared, _begins(asked)))
        for one in np.flatnonzero(counts >= TREE_FROM).tolist():
            part = np.flatnonzero(kind == one)
            result[part] = self._by_tree(places.take(part), sides_of)
        return result

    def _near(self, places: Places, k: int) -> tuple[IntArray, IntArray, FloatArray]:
        """Pairs of a place and a point that may be one of its `k` nearest, by place, and their squared distances."""
        here = np.vstack([places.coordinates.T, places.names.T])
        penalties = np.where(places.names.T == OPEN, 0.0, self.penalties[:, None])
        reach = np.full(len(places.names), np.inf)  # within which the k nearest are known to be
        count = self.boxes[0][0].shape[1]
        asked, box = np.divmod(np.arange(len(reach) * count), count)
        for level, (low, high) in enumerate(self.boxes):
            place, penalty, begins = here.take(asked, axis=1), penalties.take(asked, axis=1), _begins(asked)
            below, above = low.take(box, axis=1) - place, place - high.take(box, axis=1)
            least = _squared(np.maximum(np.maximum(below, above), 0.0), penalty)
            if k > POINTS_A_BOX:
                found = reach  # no box is known to hold so many
            elif level == len(self.boxes) - 1:
                found = self._within(here, penalties, box[np.lexsort((least, asked))[begins]], k)
            else:
                most = _squared(np.minimum(below, above), penalty)
                most[box == low.shape[1] - 1] = np.inf  # the last box may hold fewer than others
                found = np.minimum.reduceat(most, begins)
            reach = np.minimum(reach, found)
            asked, box = self._opened(level, *(pairs[least <= reach[asked]] for pairs in (asked, box)))
        apart = self.values.take(box, axis=1) - here.take(asked, axis=1)
        return asked, box, _squared(apart, penalties.take(asked, axis=1))

    def _opened(self, level: int, asked: IntArray, box: IntArray) -> tuple[IntArray, IntArray]:
        """Pairs of a place and what is in the boxes of a level that it is paired with: finer boxes, or points."""
        finest = level == len(self.boxes) - 1
        size = POINTS_A_BOX if finest else BOXES_A_BOX
        count = len(self.rows) if finest else self.boxes[level + 1][0].shape[1]
        inside = (box[:, None] * size + np.arange(size)).ravel()
        exists = inside < count
        return np.repeat(asked, size)[exists], inside[exists]

    def _within(self, here: FloatArray, penalties: FloatArray, box: IntArray, k: int) -> FloatArray:
        """Squared distance of each place to the `k`-th nearest point of one box, infinite where it has fewer."""
        point = box[:, None] * POINTS_A_BOX + np.arange(POINTS_A_BOX)
        asked = np.repeat(np.arange(len(box)), POINTS_A_BOX)
        values = self.values.take(np.minimum(point.ravel(), len(self.rows) - 1), axis=1)
        squared = _squared(values - here.take(asked, axis=1), penalties.take(asked, axis=1)).reshape(point.shape)
        squared[point >= len(self.rows)] = np.inf
        return np.asarray(np.partition(squared, k - 1, axis=1)[:, k - 1])

    def _by_tree(self, places: Places, sides_of: Sequence[float]) -> FloatArray:
        """`distances` of places that have the same names."""
        width, asked = places.coordinates.shape[1], places.names[0]
        differing = (asked != self.values[width:].T) & (asked != OPEN)
        tree = cKDTree(np.column_stack([self.values[:width].T, np.sqrt(differing @ self.penalties)]))
        here = np.column_stack([places.coordinates, np.zeros(len(places.names))])
        if not sides_of:
            return np.asarray(tree.query(here)[0])
        distance = np.asarray(tree.query(here, eps=ROUGHLY - 1.0)[0])
        for limit in sides_of:
            unsure = (distance > limit) & (distance <= ROUGHLY * limit)
            nearer, _ = tree.query(here[unsure], distance_upper_bound=np.nextafter(limit, np.inf))
            distance[unsure] = np.minimum(distance[unsure], nearer)
        return distance


def _squared(apart: FloatArray, penalties: FloatArray) -> FloatArray:
    """Squared distances of what lies `apart` (f + w, p) in coordinates and codes of names; penalties (w, p)."""
    width = len(apart) - len(penalties)
    coordinates, names = apart[:width], apart[width:]
    return np.asarray(np.einsum("in,in->n", coordinates, coordinates) + ((names != 0.0) * penalties).sum(axis=0))


def _begins(asked: IntArray) -> IntArray:
    """Where the pairs of each place begin, all of which have some."""
    return np.searchsorted(asked, np.arange(asked[-1] + 1))


def _halved(part: IntArray, values: FloatArray, penalties: FloatArray) -> list[IntArray]:
    """The points at `part`, box by box: halved again and again by what tells them apart the most."""
    if len(part) <= POINTS_A_BOX:
        return [part]
    inside = values[part]
    order = part[np.argsort(inside[:, _spreads(inside, penalties).argmax()], kind="stable")]
    middle = -(-len(part) // (2 * POINTS_A_BOX)) * POINTS_A_BOX
    return [*_halved(order[:middle], values, penalties), *_halved(order[middle:], values, penalties)]


def _spreads(values: FloatArray, penalties: FloatArray) -> FloatArray:
    """Mean squared distance of two of the points by each coordinate and name, shape (f + w,)."""
    width = values.shape[1] - len(penalties)
    counts = (np.bincount(names.astype(np.int64)) for names in values[:, width:].T)
    alike = np.array([np.square(count / len(values)).sum() for count in counts])
    return np.concatenate([2.0 * values[:, :width].var(axis=0), penalties * (1.0 - alike)])
