"""Gene vectors that need no language model: from the words of descriptions, and from graphs and sets of genes.

Stand-ins for vectors of proteins and texts where no language model is at hand; each says in its `kind` what it is. They
are deterministic, but where two axes matter equally (symmetric graphs) another machine may turn them into each other.

Axes: N genes that are linked, K numbers per gene.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from cartogene.errors import ConfigError, GeneError, NoOverlapError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph

DENSE = 600  # so many genes are decomposed at once, more than that step by step
FAINT = 1e-6  # vectors shorter than that, relative to the longest, are noise

Matrix = NDArray[np.float64]


def lsa(
    texts: Mapping[str, str], vocabulary: Vocabulary, width: int = 256, *, seed: int = 0, least: int = 2
) -> GeneFeatures:
    """Embed descriptions of genes by latent semantic analysis: which words they share.

    Words are weighed by ``(1 + log(count)) * idf``, English stop words left out; a truncated singular value
    decomposition keeps `width` axes; vectors are scaled to length 1.

    Parameters
    ----------
    texts
        A description per gene, by Ensembl id; those of other genes than the vocabulary's are passed over.
    vocabulary
        Genes of the result; those without a description, or with none but rare words, are absent.
    width
        Length of the vectors; fewer if there are not as many texts or words.
    seed
        Start of the decomposition.
    least
        Words of fewer descriptions are passed over.

    Raises
    ------
    NoOverlapError
        If no text is of a gene of the vocabulary.
    ConfigError
        If `width` is under 1, or no two texts share a word.

    References
    ----------
    Deerwester et al. (1990). Indexing by latent semantic analysis. J. Am. Soc. Inf. Sci. 41, 391-407.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    _refuse_no_width(width)
    found = {gene: text for gene, text in dict(texts).items() if gene in vocabulary and str(text).strip()}
    if not found:
        raise NoOverlapError(
            f"texts: found {len(texts)}, none of a gene of {vocabulary!r}; give them by the ids of the vocabulary"
        )
    place = np.sort(vocabulary.position(list(found)))
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=min(least, len(found)), dtype=np.float64)
    try:
        matrix = words.fit_transform([found[gene] for gene in vocabulary.id(place)])
    except ValueError as error:
        raise ConfigError(f"texts: found {len(found)} that share no words ({error}); expected descriptions") from error
    if (rank := min(width, *matrix.shape)) < min(matrix.shape):
        vectors = TruncatedSVD(rank, n_iter=7, random_state=seed).fit_transform(matrix)
    else:
        left, scale, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
        vectors = left * scale
    facts = {"method": "tf-idf, truncated SVD", "texts": len(found), "words": matrix.shape[1], "seed": seed}
    return _features(vocabulary, place, vectors, "latent semantic analysis of gene descriptions", facts)


def spectral(
    links: GeneGraph | sparse.sparray | sparse.spmatrix,
    vocabulary: Vocabulary,
    width: int = 128,
    *,
    seed: int = 0,
    name: str | None = None,
) -> GeneFeatures:
    """Embed genes by whom they are linked to: leading eigenvectors of a graph, or singular vectors of gene sets.

    A graph is symmetrised (larger of the two directions, size of the weights; self-loops do not count) and normalised
    to ``D^-1/2 A D^-1/2``, where D holds the degrees plus their mean, so that small islands do not take up all axes. Of
    a matrix genes x sets, rows and columns are normalised alike. Axes weigh as the root of their eigenvalue; vectors
    are scaled to length 1.

    Parameters
    ----------
    links
        A graph, or a sparse matrix with a row per gene of the vocabulary and a column per set (see `membership`).
    vocabulary
        Genes of the result; those without a link, or too far from all others for `width` axes, are absent.
    width
        Length of the vectors; fewer if there are not as many axes.
    seed
        Start of the decomposition.
    name
        What the links are, in words; as the graph says itself if not given.

    Raises
    ------
    NoOverlapError
        If no gene of the vocabulary is linked to another.
    ConfigError
        If `width` is under 1.
    GeneError
        If a matrix has not a row per gene.

    References
    ----------
    Qin & Rohe (2013). Regularized spectral clustering under the degree-corrected stochastic blockmodel. NeurIPS 26.
    """
    _refuse_no_width(width)
    if isinstance(links, GeneGraph):
        matrix, what = _symmetric(links.to(vocabulary)), f"{links.provenance.get('relation', 'gene')} graph"
    else:
        matrix, what = abs(sparse.csr_array(links)).astype(np.float64), "gene sets"
        if matrix.shape[0] != len(vocabulary):
            raise GeneError(f"links: found {matrix.shape[0]} rows, expected {len(vocabulary)}, one per gene")
    linked = np.flatnonzero(matrix.sum(1) > 0)
    if not len(linked):
        raise NoOverlapError(f"links: found none between genes of {vocabulary!r}; take links of the same organism")
    square = isinstance(links, GeneGraph)
    matrix = matrix[linked][:, linked] if square else matrix[linked][:, np.flatnonzero(matrix.sum(0) > 0)]
    vectors = _eigenvectors(_normalised(matrix), width, seed) if square else _singular(_normalised(matrix), width, seed)
    facts = {"method": "regularised spectral embedding", "links": int(matrix.nnz), "seed": seed}
    return _features(vocabulary, linked + 1, vectors, f"spectral embedding of the {name or what}", facts)


def membership(sets: pd.DataFrame, vocabulary: Vocabulary) -> sparse.csr_array:
    """Return which genes (rows, in the order of the vocabulary) belong to which sets (columns, by name).

    Parameters
    ----------
    sets
        Columns ``set`` and ``gene`` (Ensembl ids); genes that are not in the vocabulary are passed over.
    """
    row = vocabulary.position(sets["gene"].to_numpy(object)) - 1
    column, names = pd.factorize(sets["set"], sort=True)
    pairs = np.unique(np.stack([row, column], 1)[row >= 0], axis=0)
    shape = (len(vocabulary), len(names))
    return sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=shape)


def _refuse_no_width(width: int) -> None:
    if width < 1:
        raise ConfigError(f"width: found {width}, expected at least 1")


def _symmetric(graph: GeneGraph) -> sparse.csr_array:
    """Return the size of the weights, the same both ways, nothing on the diagonal; shape (genes, genes)."""
    apart = graph.regulator != graph.target
    row, column = graph.regulator[apart] - 1, graph.target[apart] - 1
    size = len(graph.vocabulary)
    one = sparse.csr_array((np.abs(graph.weight[apart]).astype(np.float64), (row, column)), shape=(size, size))
    return sparse.csr_array(one.maximum(one.T))


def _normalised(matrix: sparse.csr_array) -> sparse.csr_array:
    """Divide every entry by the roots of its row's and column's sums, the mean sum added to each."""
    of_row, of_column = (np.asarray(matrix.sum(axis)).ravel() for axis in (1, 0))
    left, right = (sparse.diags_array(1 / np.sqrt(sums + sums.mean())) for sums in (of_row, of_column))
    return sparse.csr_array(left @ matrix @ right)


def _eigenvectors(matrix: sparse.csr_array, width: int, seed: int) -> Matrix:
    """Return the eigenvectors of the largest eigenvalues, each times the root of its own."""
    size = matrix.shape[0]
    if size <= max(DENSE, 2 * width):
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start = np.random.default_rng(seed).normal(size=size)
        values, vectors = linalg.eigsh(matrix, k=width, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")[:width]
    order = order[values[order] > FAINT]
    scaled: Matrix = vectors[:, order] * np.sqrt(values[order])
    return scaled


def _singular(matrix: sparse.csr_array, width: int, seed: int) -> Matrix:
    """Return the left singular vectors of the largest singular values, each times the root of its own."""
    size = min(matrix.shape)
    if size <= max(DENSE, 2 * width):
        vectors, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(seed).normal(size=size)
        vectors, values, _ = linalg.svds(matrix, k=width, v0=start)
    order = np.argsort(-values, kind="stable")[:width]
    order = order[values[order] > FAINT]
    scaled: Matrix = vectors[:, order] * np.sqrt(values[order])
    return scaled


def _features(
    vocabulary: Vocabulary, place: NDArray[Any], vectors: Matrix, what: str, facts: dict[str, Any]
) -> GeneFeatures:
    """Scale vectors to length 1, leave out what is noise, and put them at their places."""
    length = np.linalg.norm(vectors, axis=1)
    clear = length > FAINT * length.max(initial=0)
    if not clear.any():
        raise ConfigError(f"{what}: found no axis on which genes differ, expected some; give more of them")
    scaled = _signed(vectors)[clear] / length[clear, None]
    values = np.full((len(vocabulary), vectors.shape[1]), np.nan, np.float32)
    values[place[clear] - 1] = scaled
    return GeneFeatures(vocabulary, values, f"{what} (no language model)", facts)


def _signed(vectors: Matrix) -> Matrix:
    """Turn every axis so that the first of its large entries is positive."""
    large = np.abs(vectors) >= 0.5 * np.abs(vectors).max(0)
    first = np.take_along_axis(vectors, large.argmax(0)[None], 0)
    return vectors * np.where(first < 0, -1.0, 1.0)
