"""Losses of cell states and labels that no distribution tells by itself: pure tensor functions, each a scalar.

Where published code computes something odd, that form stands under a name that says so, beside the one
that was meant.

Axes: B cells, T gene tokens, C cell tokens, D width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Changes, Memberships


def dissimilarity(cell: Float[Tensor, "B C D"]) -> Float[Tensor, ""]:
    """Return how alike the cell tokens of a cell are: the mean of ``|cosine|`` over all C * C pairs of them.

    A token paired with itself adds 0, but is counted (scPRINT, Methods, disentangled embeddings).

    Examples
    --------
    >>> float(dissimilarity(torch.tensor([[[1.0, 0.0], [-2.0, 0.0]]])))
    0.5
    """
    n_tokens = cell.shape[1]
    itself = torch.eye(n_tokens, dtype=torch.bool, device=cell.device)
    return _cosines(cell, cell).abs().masked_fill(itself, 0).mean()


def contrast(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], *, temperature: float = 0.5) -> Float[Tensor, ""]:
    """Return how badly each cell of one pass finds itself among the cells of another pass, by cosine.

    This is what was meant; `contrast_over_the_batch_axis` is what the published code computes.
    """
    return cross_entropy(_cosines(one, other) / temperature, torch.arange(len(one), device=one.device))


def contrast_over_the_batch_axis(
    one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], *, temperature: float = 0.5
) -> Float[Tensor, ""]:
    """Return the contrast as published, where the cosine was taken along the wrong axis.

    The number ``one[i, k]``, repeated for every cell, is compared with the column ``other[:, k]``:
    ``sign(one[i, k]) * sum_j other[j, k] / (sqrt(B) * norm(other[:, k]))``. Cell i is then looked for in column i. No
    gradient reaches `one`, and only its signs matter.

    Raises
    ------
    ConfigError
        If there are more cells than columns: the cells beyond have no column.
    """
    n_cells, width = one.shape
    if n_cells > width:
        raise ConfigError(
            f"contrast over the batch axis: found {n_cells} cells of width {width}, expected at most as many cells as "
            "the width; take a smaller batch, or the contrast between cells"
        )
    columns = normalize(other.float(), dim=0).sum(0) / n_cells**0.5  # (D,)
    return cross_entropy(one.float().sign() * columns / temperature, torch.arange(n_cells, device=one.device))


def elastic(cell: Float[Tensor, "B D"], *, threshold: float = 0.3) -> Float[Tensor, ""]:
    """Return the elastic similarity of cells: the mean of ``1 - (max(cosine, 0) - threshold)**2`` over B * B pairs.

    Lowering it pushes pairs of cells away from the threshold: alike ones together, the others apart. A cell paired with
    itself has a cosine of 0 here.
    """
    itself = torch.eye(len(cell), dtype=torch.bool, device=cell.device)
    cosine = _cosines(cell, cell).masked_fill(itself, 0).clamp(min=0)
    return (1 - (cosine - threshold) ** 2).mean()


def classification(said: Memberships, code: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the cross-entropy of the memberships that codes tell, reduced as published.

    The sum over cells is divided by B * L for L leaves, or by B * (L + 1) as soon as one code of the batch means a
    group; entries of which nothing is known are counted, too: unknown cells, and the leaves within a group.
    """
    n_cells, n_leaves = said.logits.shape
    any_group = (code >= n_leaves).any()
    return -said.log_prob(code).sum() / (n_cells * (n_leaves + any_group))


def focal(
    logits: Float[Tensor, "*shape"], truth: Bool[Tensor, "*shape"], *, alpha: float = 0.5, gamma: float = 0.0
) -> Float[Tensor, "*shape"]:
    """Return the focal loss of each yes or no: the cross-entropy, less of it where the answer was almost right.

    What is true counts `alpha`, what is not ``1 - alpha``, times the chance of a wrong answer to the power of `gamma`.

    References
    ----------
    Lin et al. (2017). Focal loss for dense object detection. ICCV.
    """
    right = torch.where(truth, logits, -logits)  # the logit of the right answer
    share = torch.where(truth, alpha, 1 - alpha)
    return -share * (gamma * logsigmoid(-right)).exp() * logsigmoid(right)


def changes(
    said: Changes,
    difference: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    alpha: float = 0.5,
    gamma: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return how badly two steps tell changes: whether a gene changes, and which way.

    The first is the focal loss of the genes, divided by `alpha`; the second the cross-entropy of the genes that do
    change, and 0 if none does. Cell-GraphCompass trains with ``alpha=0.5, gamma=0``, the plain cross-entropy, and tests
    with 0.05 and 2.

    Parameters
    ----------
    difference
        Logarithm after the perturbation less that before.
    mask
        True where there is a gene.
    """
    changed, way = said.steps(difference)
    changed = changed & mask
    missed = -said.way.log_softmax(-1).gather(-1, way.unsqueeze(-1)).squeeze(-1)
    whether = focal(said.change, changed, alpha=alpha, gamma=gamma) / alpha
    return mean_where(whether, mask), mean_where(missed, changed)


def mean_where(values: Float[Tensor, "*shape"], chosen: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean of the values chosen; 0 if none is.

    Examples
    --------
    >>> float(mean_where(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([True, True, False])))
    2.0
    """
    return values.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1)


def _cosines(one: Float[Tensor, "*shape N D"], other: Float[Tensor, "*shape M D"]) -> Float[Tensor, "*shape N M"]:
    """Return the cosine of every pair, in float32 whatever the precision around."""
    with torch.autocast(one.device.type, enabled=False):
        return normalize(one.float(), dim=-1) @ normalize(other.float(), dim=-1).transpose(-1, -2)
