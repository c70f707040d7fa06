"""What the authors of Cell-GraphCompass published beside their weights: genes, texts, and two graphs.

Rows: number n of theirs is a gene, 0 padding, 1 the cell token, 2 another token that no cell has.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartogene.errors import FileError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.convert import recorded

SPECIAL = ("<pad>", "<cls>", "<eoc>")  # what stands before the genes
ORGANISM = "human and mouse"  # genes whose symbols are the same but for their case share a row
FILES = {  # what the files of a folder are called
    "texts": ("embeding.pickle", "embedding.pickle"),
    "regulation": ("tf_tg_graph", "tf_tg_graph.pickle", "tf_tg_graph.pkl"),
    "chromosome": ("chromo_graph", "chromo_graph.pickle", "chromo_graph.pkl"),
}
FURTHEST = 50  # distance of two genes on a chromosome, in genes


def vocabulary(path: str | Path) -> Vocabulary:
    """Read which gene each row is, by symbols in capital letters.

    Raises
    ------
    FileError
        If there is no such file, or it is not JSON.
    WeightsError
        If it is no mapping of different names to the numbers from 0 on, or padding and tokens are not the first.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(
            f"{path}: cannot be read as JSON ({error}); take the vocab.json that the authors published"
        ) from (error)
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        raise WeightsError(
            f"{path}: found no mapping of names to numbers; take the vocab.json that the authors published"
        )
    names = sorted(found, key=lambda name: found[name])
    if [found[name] for name in names] != list(range(len(names))) or tuple(names[:3]) != SPECIAL or len(names) < 4:
        raise WeightsError(
            f"{path}: found {len(names)} names, expected {', '.join(SPECIAL)} and then genes, each number from 0 on "
            "once; take the vocab.json that the authors published"
        )
    genes = tuple(names[len(SPECIAL) :])
    return Vocabulary(ORGANISM, genes, genes)


def find(folder: str | Path, what: str) -> Path | None:
    """Return where a file lies in the folder of what the authors published, None if it is not there."""
    places = [Path(folder) / name for name in FILES[what]]
    return next((place for place in places if place.is_file()), None)


def texts(path: Path, n_rows: int) -> NDArray[np.float32]:
    """Read the vector of the text of each gene, by rows of theirs: shape (n_rows, size), NaN where there is none.

    Raises
    ------
    WeightsError
        If these are not vectors of one length by number.
    """
    try:
        numbers, vectors = recorded.series(recorded.read(path))
        rows = np.asarray(numbers, dtype=np.int64)
        stacked = np.stack([np.asarray(vector, dtype=np.float32) for vector in vectors])
        stacked = (
            stacked[:, 0] if stacked.ndim == 3 and stacked.shape[1] == 1 else stacked
        )  # vectors lying in a row each
    except (ValueError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise WeightsError(f"{path}: {_bare(error, path)}") from error
        raise WeightsError(f"{path}: found no vectors of one length by number ({error}); fetch it again") from error
    if stacked.ndim != 2 or len(np.unique(rows)) < len(rows) or not np.isfinite(stacked).all():
        raise WeightsError(
            f"{path}: found vectors of shape {stacked.shape}, expected a finite one for each number, once"
        )
    table = np.full((n_rows, stacked.shape[1]), np.nan, np.float32)
    there = (rows >= 0) & (rows < n_rows)
    table[rows[there]] = stacked[there]
    return table


def relation(path: Path, genes: Vocabulary, name: str) -> GeneGraph:
    """Read a graph: ``regulation``, or ``chromosome`` with its attribute ``distance``.

    Edges of genes that are not in the vocabulary are left out; of an edge that stands twice the first one counts.

    Raises
    ------
    WeightsError
        If it is no graph with the names of its nodes, or distances are not whole numbers from -50 to 50.
    """
    try:
        regulator, target, attributes = _edges(recorded.read(path), genes)
        kept = np.flatnonzero((regulator > 0) & (target > 0))
        key = regulator[kept] * (len(genes) + 1) + target[kept]
        kept = kept[np.unique(key, return_index=True)[1]]
        told = {"distance": _distances(attributes)[kept]} if name == "chromosome" else {}
    except WeightsError as error:
        raise WeightsError(f"{path}: {_bare(error, path)}") from error
    facts = {"relation": name, "source": path.name, "edges": len(regulator), "sources": ["Cell-GraphCompass"]}
    return GeneGraph(
        genes,
        regulator[kept].astype(np.int32),
        target[kept].astype(np.int32),
        np.ones(len(kept), np.float32),
        np.zeros(len(kept), np.int8),
        facts,
        told,
    )


def _edges(content: Any, genes: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Return the positions of both ends of each edge, 0 where the vocabulary lacks the gene, and what edges are."""
    if not isinstance(content, (tuple, list)) or len(content) < 3:
        raise WeightsError(f"found {type(content).__name__}, expected a graph, and the names of its nodes both ways")
    source, target, attributes = recorded.graph(content[0])
    names, nodes = (np.asarray(part.tolist()) for part in recorded.series(content[1]))
    if names.dtype.kind in "iu":  # names by number: the two may stand the other way round
        names, nodes = nodes, names
    if (
        nodes.dtype.kind not in "iu"
        or not len(nodes)
        or min(nodes.min(), *(ends.min(initial=0) for ends in (source, target))) < 0
    ):
        raise WeightsError(f"names of nodes: found numbers of the type {nodes.dtype}, expected whole ones from 0")
    position = np.zeros(max(int(nodes.max()), *(int(ends.max(initial=0)) for ends in (source, target))) + 1, np.int64)
    position[nodes] = genes.position([str(name).upper() for name in names])
    return position[source], position[target], attributes


def _distances(attributes: dict[str, NDArray[Any]]) -> NDArray[np.int8]:
    found = attributes.get("dis")
    if found is None or found.size != len(found) or not (found == np.rint(found)).all():
        raise WeightsError(
            f"edges: found {sorted(attributes)}, expected the distance of two genes as 'dis', in whole genes"
        )
    if found.size and np.abs(found).max() > FURTHEST:
        raise WeightsError(
            f"edges: found distances from {found.min()} to {found.max()}, expected -{FURTHEST} to {FURTHEST}; the file "
            "is of another release"
        )
    distances: NDArray[np.int8] = found.reshape(-1).astype(np.int8)
    return distances


def _bare(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
