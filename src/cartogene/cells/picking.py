"""The loops behind `cells.pick`, compiled when they are first called.

Every number that is random is a function of the key of the cell and of the number of the draw, so that what a cell
shows depends on nothing else.
"""

from typing import Any

import numpy as np

from cartogene.cells.bits import compiled

TRIES = 16  # draws per silent gene wanted, before all of them are ranked
HIGH = 1023  # counts from here on are ranked one by one
U11, U27, U30, U31, U32 = (np.uint64(n) for n in (11, 27, 30, 31, 32))
STEP, MIX, MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
UNIT = 1.0 / (1 << 53)


@compiled(nogil=True, inline="always")
def _mixed(state: Any) -> Any:
    """Return 64 bits that look random (splitmix64, Steele et al. 2014)."""
    z = (state ^ (state >> U30)) * MIX
    z = (z ^ (z >> U27)) * MIX2
    return z ^ (z >> U31)


@compiled(nogil=True, inline="always")
def _uniform(key: Any, number: Any) -> Any:
    """Return draw `number` of a key: above 0, below 1."""
    return (np.float64(_mixed(key + np.uint64(number + 1) * STEP) >> U11) + 0.5) * UNIT


@compiled(nogil=True, inline="always")
def _below(key: Any, number: Any, n: Any) -> Any:
    """Return draw `number` of a key: a whole number below `n`, which is below 2^32."""
    return np.int64(((_mixed(key + np.uint64(number + 1) * STEP) >> U32) * np.uint64(n)) >> U32)


@compiled(nogil=True, inline="always")
def _is_shown(key: Any, gene: Any, share: Any) -> Any:
    """Say whether a gene that was measured is shown of this cell."""
    return share >= 1.0 or _uniform(key, -2 - gene) < share


@compiled(nogil=True)
def _keep_largest(rank: Any, n: Any, n_kept: Any, genes: Any, counts: Any) -> None:
    """Move the entries of the largest ranks, all different, to the front, in the order they have."""
    limit = np.partition(rank[:n], n - n_kept)[n - n_kept]
    place = 0
    for i in range(n):
        if rank[i] >= limit and place < n_kept:
            genes[place], counts[place] = genes[i], counts[i]
            place += 1


@compiled(nogil=True)
def _level(counts: Any, n: Any, n_kept: Any) -> Any:
    """Return a count, and how many are above it: these are among the `n_kept` highest, and some of it are."""
    heights = np.zeros(HIGH + 1, np.int64)
    for i in range(n):
        heights[np.int64(min(counts[i], HIGH))] += 1
    level, above = HIGH, 0
    while above + heights[level] < n_kept:
        above += heights[level]
        level -= 1
    return level, above, heights[level]


@compiled(nogil=True)
def _keep_highest(n: Any, n_kept: Any, genes: Any, counts: Any, key: Any, preferred: Any) -> None:
    """Move the entries with the highest counts to the front; of equal ones those preferred, else any."""
    level, above, n_ties = _level(counts, n, n_kept)
    rank, at_level, ties = np.empty(n_ties), np.empty(n_ties, np.int64), 0
    for i in range(n):
        if min(np.int64(counts[i]), HIGH) == level:
            high = np.float64(counts[i]) if level == HIGH else 0.0
            tie = np.float64(preferred[genes[i]]) if len(preferred) else 0.0
            rank[ties] = high + 0.5 * tie / (1.0 + tie) + 1e-6 * _uniform(key, i)
            at_level[ties] = i
            ties += 1
    left = n_kept - above
    if left < ties:
        limit = np.partition(rank, ties - left)[ties - left]
        for t in range(ties):
            if rank[t] < limit:
                counts[at_level[t]] = -1.0
    place = 0
    for i in range(n):
        if min(np.int64(counts[i]), HIGH) >= level and place < n_kept:
            genes[place], counts[place] = genes[i], counts[i]
            place += 1


@compiled(nogil=True)
def _keep_some(n: Any, n_kept: Any, genes: Any, counts: Any, key: Any) -> None:
    """Move entries drawn at random to the front, or the others to the end if these are fewer (Fisher and Yates)."""
    from_front = n_kept <= n - n_kept
    for step in range(min(n_kept, n - n_kept)):
        i = step if from_front else n - 1 - step
        j = i + _below(key, i, n - i) if from_front else _below(key, i, i + 1)
        genes[i], genes[j] = genes[j], genes[i]
        counts[i], counts[j] = counts[j], counts[i]


@compiled(nogil=True)
def _keep(n: Any, n_kept: Any, found: Any, key: Any, preferred: Any, by_count: Any) -> None:
    """Keep some of the expressed genes; `preferred` is empty where all are alike."""
    genes, counts = found
    if by_count:
        _keep_highest(n, n_kept, genes, counts, key, preferred)
    elif len(preferred):
        rank = np.empty(n)
        for i in range(n):
            rank[i] = np.log(_uniform(key, i)) / (preferred[genes[i]] + 1e-3)
        _keep_largest(rank, n, n_kept, genes, counts)
    else:
        _keep_some(n, n_kept, genes, counts, key)


@compiled(nogil=True)
def _expressed(rows: Any, cell: Any, panels: Any, shown: Any, seen: Any, found: Any) -> Any:
    """List the shown expressed genes of one cell; return how many there are, and the sum of their counts."""
    data, columns, indptr, store = rows
    key, share, stamp = shown
    genes, counts = found
    first = panels[2][store[cell], 0]
    n, total = 0, 0.0
    for z in range(indptr[cell], indptr[cell + 1]):
        gene = panels[0][first + columns[z]]
        if gene > 0 and data[z] > 0 and _is_shown(key, gene, share):
            seen[gene] = stamp
            genes[n], counts[n] = gene, data[z]
            total += counts[n]
            n += 1
    return n, total


@compiled(nogil=True)
def _n_shown(measured: Any, key: Any, share: Any) -> Any:
    if share >= 1.0:
        return len(measured)
    n = 0
    for gene in measured:
        n += _uniform(key, -2 - gene) < share
    return n


@compiled(nogil=True)
def _silent(measured: Any, heaped: Any, silent: Any, shown: Any, seen: Any, out: Any) -> None:
    """Draw genes without a count, one after the other, in proportion to their weights, none twice.

    `heaped` is empty where all weigh alike, else the weights summed up, from before the first gene on.
    """
    key, share, stamp = shown
    weighted = len(heaped) > 0
    place, number = 0, len(seen)
    for _ in range(TRIES * len(out) if not weighted or heaped[-1] > heaped[0] else 0):
        if place == len(out):
            return
        if weighted:
            goal = heaped[0] + _uniform(key, number) * (heaped[-1] - heaped[0])
            m = min(np.searchsorted(heaped[1:], goal, side="right"), len(measured) - 1)
        else:
            m = _below(key, number, len(measured))
        gene = measured[m]
        number += 1
        if seen[gene] != stamp and _is_shown(key, gene, share):
            seen[gene] = stamp
            out[place] = gene
            place += 1
    if place < len(out):
        _rank_silent(measured, silent, shown, seen, out[place:])


@compiled(nogil=True)
def _rank_silent(measured: Any, silent: Any, shown: Any, seen: Any, out: Any) -> None:
    """Draw from what is left by a key for each gene (Efraimidis & Spirakis 2006)."""
    key, share, stamp = shown
    rank, rest, n = np.empty(len(measured)), np.empty(len(measured), np.int64), 0
    for gene in measured:
        if seen[gene] != stamp and _is_shown(key, gene, share):
            rest[n] = gene
            rank[n] = np.log(_uniform(key, 2 * len(seen) + gene)) / ((silent[gene] if len(silent) else 1.0) + 1e-6)
            n += 1
    _keep_largest(rank, n, len(out), rest, np.empty(n, np.float32))
    out[:] = rest[: len(out)]


@compiled(nogil=True)
def choose(rows: Any, at: Any, shown: Any, panels: Any, asked: Any, out: Any) -> None:
    """Fill genes, counts, sums and how many there are, of each cell."""
    n_expressed, wanted, by_count = asked
    _, measured, spans, expressed, silent, heaped = panels
    longest = out[4] + 1
    seen, found = np.zeros(longest, np.int32), (np.empty(longest, np.int64), np.empty(longest, np.float32))
    for b in range(len(at)):
        key, share, weighted = shown[0][b], shown[1][b], shown[2][b]
        own = (key, share, np.int32(b + 1))
        start, stop = spans[rows[3][at[b]], 1], spans[rows[3][at[b]], 2]
        n, out[2][b] = _expressed(rows, at[b], panels, own, seen, found)
        n_silent = _n_shown(measured[start:stop], key, share) - n
        take = min(n, wanted, max(n_expressed, wanted - n_silent))
        if 0 < take < n:
            _keep(n, take, found, key, expressed if weighted else expressed[:0], by_count)
        for i in range(take):
            out[0][b, i], out[1][b, i] = found[0][i], found[1][i]
        end = take + min(n_silent, wanted - take)
        sums = heaped[start : stop + 1] if weighted else heaped[:0]
        _silent(measured[start:stop], sums, silent if weighted else silent[:0], own, seen, out[0][b, take:end])
        out[0][b, end:], out[1][b, take:] = 0, 0
        out[3][b] = end


@compiled(nogil=True)
def show(rows: Any, at: Any, panels: Any, given: Any, out: Any) -> None:
    """Fill genes, counts, sums and how many there are, of each cell, from given genes."""
    data, columns, indptr, store = rows
    place, measured, spans = panels
    longest = out[4] + 1
    there, counted, counts = np.zeros(longest, np.int32), np.zeros(longest, np.int32), np.zeros(longest, np.float32)
    last = -1
    for b in range(len(at)):
        own = store[at[b]]
        if own != last:
            for gene in measured[spans[own, 1] : spans[own, 2]]:
                there[gene] = own + 1
        last = own
        for z in range(indptr[at[b]], indptr[at[b] + 1]):
            gene = place[spans[own, 0] + columns[z]]
            if gene > 0:
                counted[gene], counts[gene] = b + 1, data[z]
                out[2][b] += data[z]
        n = 0
        for gene in given:
            if there[gene] == own + 1:
                out[0][b, n], out[1][b, n] = gene, counts[gene] if counted[gene] == b + 1 else 0.0
                n += 1
        out[0][b, n:], out[1][b, n:] = 0, 0
        out[3][b] = n
