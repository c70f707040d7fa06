"""Where boxes go in a frame, how lines pass between them."""

import numpy as np
from numpy.typing import NDArray

_BENDS = (0.12, -0.12, 0.28, -0.28, 0.45, -0.45)


def fit(points: NDArray[np.float64], boxes: NDArray[np.float64], frame: tuple[float, float]) -> NDArray[np.float64]:
    """Stretch a layout so that the boxes around its points just lie inside the frame.

    Parameters
    ----------
    points
        Shape (boxes, 2); the layout, in any unit.
    boxes
        Shape (boxes, 2); width and height of the box around each point, in the unit of the frame.
    frame
        Width and height of the frame, whose corner is (0, 0).

    Returns
    -------
    Centres of the boxes, in the unit of the frame.

    Examples
    --------
    >>> fit(np.array([[0.0, 0.0], [1.0, 3.0]]), np.full((2, 2), 10.0), (40, 40)).tolist()
    [[5.0, 5.0], [35.0, 35.0]]
    """
    edge = boxes.max(axis=0, initial=0) / 2
    extent = np.ptp(points, axis=0)
    unit = np.where(extent > 0, (points - points.min(axis=0)) / np.where(extent > 0, extent, 1), 0.5)
    places: NDArray[np.float64] = edge + unit * np.maximum(frame - 2 * edge, 0)
    return places


def part(
    places: NDArray[np.float64], boxes: NDArray[np.float64], frame: tuple[float, float], *, rounds: int = 400
) -> NDArray[np.float64]:
    """Push overlapping boxes apart, each pair along the shorter way, without leaving the frame.

    Parameters
    ----------
    places, boxes, frame
        As in `fit`: centres, sizes, and the frame, all in one unit.
    rounds
        How often all overlapping pairs are pushed; it ends earlier if nothing overlaps.

    Returns
    -------
    New centres; the same input always gives the same ones. In a frame too small for all boxes some still overlap.

    Examples
    --------
    >>> part(np.full((2, 2), 20.0), np.full((2, 2), 10.0), (40, 40)).tolist()
    [[25.0, 20.0], [15.0, 20.0]]
    """
    half = boxes / 2
    reach = half[:, None] + half[None]
    order = np.arange(len(places))
    same = (order[:, None] == order[None])[..., None]
    tie = np.sign(order[None] - order[:, None])[..., None]
    for _ in range(rounds):
        apart = places[:, None] - places[None]
        depth = np.where(same, 0, reach - np.abs(apart))
        covers = (depth > 1e-6).all(axis=2)
        if not covers.any():
            break
        sideways = covers & (depth[..., 0] <= depth[..., 1])
        direction = np.where(apart == 0, tie, np.sign(apart))
        push = np.stack([sideways, covers & ~sideways], axis=2) * direction * depth
        places = np.clip(places + 0.5 * push.sum(axis=1), half, np.maximum(frame - half, half))
    return places


def bend(start: int, end: int, places: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """Choose the curvature with which a line between two boxes passes behind as few others as possible.

    Parameters
    ----------
    start, end
        Which boxes are joined.
    places, boxes
        Centres and sizes of all boxes.

    Returns
    -------
    How far the middle control point of a quadratic curve lies off the line, in lengths of the line, positive to the
    right of the direction of travel in a frame whose y axis points up; the slightest bend wins among equals.

    Examples
    --------
    >>> bend(0, 2, np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]]), np.full((3, 2), 10.0))
    0.12
    >>> bend(0, 2, np.array([[0.0, 0.0], [50.0, -6.0], [100.0, 0.0]]), np.full((3, 2), 10.0))
    -0.12
    """
    (x, y), step = places[start], places[end] - places[start]
    others = np.delete(np.arange(len(places)), [start, end])
    along = np.linspace(0, 1, 41)[:, None]
    best, fewest = _BENDS[0], len(places)
    for rad in _BENDS:
        control = np.array([x, y]) + step / 2 + rad * np.array([step[1], -step[0]])
        line = (1 - along) ** 2 * places[start] + 2 * along * (1 - along) * control + along**2 * places[end]
        inside = (np.abs(line[:, None] - places[others]) < boxes[others] / 2).all(axis=2).any(axis=0)
        if inside.sum() < fewest:
            best, fewest = rad, int(inside.sum())
    return best
