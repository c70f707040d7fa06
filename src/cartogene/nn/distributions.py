"""Distributions that heads return, as `torch.distributions` speaks them: mean, log_prob."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid


class ZeroInflated(Distribution):
    """Zero with probability ``sigmoid(dropout)``, else a draw from `base`."""

    arg_constraints = {}

    def __init__(self, base: Distribution, dropout: Float[Tensor, "*shape"]):
        self.base, self.dropout = base, dropout
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """Expected count, drop-out included."""
        return self.base.mean * torch.sigmoid(-self.dropout)

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log-probability of each count."""
        counted = logsigmoid(-self.dropout) + self.base.log_prob(value)
        lost = logsigmoid(self.dropout)
        return torch.where(value == 0, torch.logaddexp(lost, counted), counted)


class Counts(Distribution):
    """Negative binomial with variance = mean + mean**2 / dispersion.

    Its logarithms are kept from zero by 1e-8, as published (scPRINT, Methods, losses): no share is too small.
    """

    arg_constraints = {}

    def __init__(self, mean: Float[Tensor, "*shape"], dispersion: Float[Tensor, "*shape"]):
        self.expected, self.dispersion = mean, dispersion
        super().__init__(mean.shape, validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """Expected count."""
        return self.expected

    @property
    def variance(self) -> Float[Tensor, "*shape"]:
        """Variance of the count."""
        return self.expected + self.expected**2 / self.dispersion

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log-probability of each count."""
        mean, dispersion = self.expected, self.dispersion
        both = torch.log(dispersion + mean + 1e-8)
        none = dispersion * (torch.log(dispersion + 1e-8) - both)
        some = value * (torch.log(mean + 1e-8) - both)
        return none + some + torch.lgamma(value + dispersion) - torch.lgamma(dispersion) - torch.lgamma(value + 1)


class LogShares(Distribution):
    """Expected counts alone; how far other counts are from them is measured between shares of logarithms.

    Of both, log2(1 + x) is taken, and scaled so that it adds up to 10,000 over the genes of a cell. There lies a normal
    distribution of variance 1/2 around what is expected, written without its constant: `log_prob` is the negative of
    the squared difference, so that its mean is the negative of the published error (scPRINT, Methods, losses).

    Parameters
    ----------
    mean
        Expected count of each gene.
    mask
        True where there is a gene; the others are in no sum.
    """

    arg_constraints = {}

    def __init__(self, mean: Float[Tensor, "*shape T"], mask: Bool[Tensor, "*shape T"]):
        self.expected, self.mask = mean, mask
        super().__init__(mean.shape, validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*shape T"]:
        """Expected count."""
        return self.expected

    def log_prob(self, value: Float[Tensor, "*shape T"]) -> Float[Tensor, "*shape T"]:
        """Log-density of the counts of whole cells, gene by gene, up to a constant; 0 where there is no gene."""
        return -((self._scaled(value) - self._scaled(self.expected)) ** 2)

    def _scaled(self, counts: Float[Tensor, "*shape T"]) -> Float[Tensor, "*shape T"]:
        logs = torch.log2(1 + counts).masked_fill(~self.mask, 0)
        total = logs.sum(-1, keepdim=True)
        return logs * (10_000 / torch.where(total > 0, total, 1))


def shared_counts(
    params: Float[Tensor, "B T K"], mask: Bool[Tensor, "B T"], total: Float[Tensor, " B"]
) -> Distribution:
    """Return what K numbers per gene say of the counts of the T genes of each cell.

    One: the mean (`LogShares`). Two: a dispersion, too (`Counts`). Three: and a drop-out (`ZeroInflated`). The means
    before drop-out are shares of `total`: a soft-max over the genes present (scPRINT, Methods, expression decoder).
    Computed in float32.
    """
    share, *others = params.float().unbind(-1)  # each (B, T)
    mean = share.masked_fill(~mask, torch.finfo(share.dtype).min).softmax(-1) * total.unsqueeze(-1)
    if not others:
        return LogShares(mean, mask)
    counts = Counts(mean, others[0].clamp(max=15).exp())
    return ZeroInflated(counts, others[1]) if len(others) > 1 else counts


class Values(Distribution):
    """The value of each gene, and how likely it is above 0.

    Around what is expected lies a normal distribution of variance 1/2, written without its constant: `log_prob` is the
    negative of the squared difference.

    Parameters
    ----------
    mean
        Expected value of each gene: a bin, or a logarithm.
    presence
        Logit of a value above 0; None where nothing is said of it.
    cells
        Expected value of each cell token, where cell tokens enter as genes do.
    """

    arg_constraints = {}

    def __init__(
        self,
        mean: Float[Tensor, "*shape T"],
        presence: Float[Tensor, "*shape T"] | None = None,
        cells: Float[Tensor, "*shape C"] | None = None,
    ):
        self.expected, self.cells = mean.float(), cells
        self.presence = None if presence is None else presence.float()
        super().__init__(mean.shape, validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*shape T"]:
        """Expected value."""
        return self.expected

    def log_prob(self, value: Float[Tensor, "*shape T"]) -> Float[Tensor, "*shape T"]:
        """Log-density of each value, up to a constant."""
        return -((value - self.expected) ** 2)

    def log_prob_of_presence(self, value: Float[Tensor, "*shape T"]) -> Float[Tensor, "*shape T"]:
        """Log-probability of each value being above 0 or not, as it is."""
        assert self.presence is not None
        return logsigmoid(torch.where(value > 0, self.presence, -self.presence))


LIMITS = (math.log(2), math.log(5))  # of a change by little and by much, in natural logarithms (Cell-GraphCompass)


class Changes(Distribution):
    """By how much genes change, in classes: whether at all, and then which way.

    Classes go from the strongest decrease to the strongest increase, with no change in the middle. A change by `LIMITS`
    or more, to either side, is one; of three classes only the first limit counts.

    Parameters
    ----------
    change
        Logit of a change.
    way
        Logits of the classes but the middle one: of 2 or of 4, which compete.
    """

    arg_constraints = {}

    def __init__(self, change: Float[Tensor, "*shape"], way: Float[Tensor, "*shape K"]):
        self.change, self.way = change.float(), way.float()
        super().__init__(change.shape, validate_args=False)

    @property
    def probs(self) -> Float[Tensor, "*shape _"]:
        """Probability of each class."""
        return self._logs().exp()

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """Probability of an increase less that of a decrease."""
        middle = self.way.shape[-1] // 2
        return self.probs[..., middle + 1 :].sum(-1) - self.probs[..., :middle].sum(-1)

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log-probability of the class that each difference of logarithms is of."""
        return self._logs().gather(-1, self.code(value).unsqueeze(-1)).squeeze(-1)

    def code(self, value: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return the class that each difference of logarithms is of; limits are float32 numbers, as published."""
        middle = self.way.shape[-1] // 2
        limits = torch.tensor(LIMITS[:middle], device=value.device)
        difference = value.float().unsqueeze(-1)
        return middle + (difference >= limits).sum(-1) - (difference <= -limits).sum(-1)

    def steps(self, value: Float[Tensor, "*shape"]) -> tuple[Bool[Tensor, "*shape"], Int[Tensor, "*shape"]]:
        """Return whether each difference is a change, and its class among those of changes (any if it is none)."""
        code, middle = self.code(value), self.way.shape[-1] // 2
        return code != middle, code - (code > middle).long()

    def said(self) -> Int[Tensor, "*shape"]:
        """Return the class told in two steps, as published: a change if it is as likely as not, then the likeliest."""
        middle = self.way.shape[-1] // 2
        way = self.way.argmax(-1)
        return torch.where(self.change >= 0, way + (way >= middle), middle)

    def _logs(self) -> Float[Tensor, "*shape _"]:
        middle = self.way.shape[-1] // 2
        ways = logsigmoid(self.change).unsqueeze(-1) + self.way.log_softmax(-1)
        return torch.cat([ways[..., :middle], logsigmoid(-self.change).unsqueeze(-1), ways[..., middle:]], -1)


class Leaves(Distribution):
    """Which leaf of a label hierarchy a cell is; a group is met by any of its leaves.

    Parameters
    ----------
    logits
        One per leaf.
    groups
        Which leaves (columns) each group (row) holds. Codes count leaves first, then groups.
    """

    arg_constraints = {}

    def __init__(self, logits: Float[Tensor, "B L"], groups: Bool[Tensor, "G L"]):
        self.logits, self.groups = logits.float().log_softmax(-1), groups
        super().__init__(logits.shape[:1], validate_args=False)

    @property
    def probs(self) -> Float[Tensor, "B L"]:
        """Probability of each leaf."""
        return self.logits.exp()

    def log_prob(self, value: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Log-probability that a cell is of the leaf or group with this code; 0 where the code is -1 (not known)."""
        n_leaves = self.logits.shape[1]
        leaf = torch.arange(n_leaves, device=value.device) == value.unsqueeze(1)  # (B, L)
        group = (value - n_leaves).clamp(min=0)
        meant = torch.where((value < n_leaves).unsqueeze(1), leaf, self.groups[group]) if len(self.groups) else leaf
        scored = self.logits.masked_fill(~meant, -torch.inf).logsumexp(-1)
        return torch.where(value >= 0, scored, 0.0)


class Memberships(Distribution):
    """Of which leaves of a label hierarchy a cell is, each leaf yes or no by itself.

    Parameters
    ----------
    logits
        One per leaf.
    groups
        Which leaves (columns) each group (row) holds. Codes count leaves first, then groups.
    """

    arg_constraints = {}

    def __init__(self, logits: Float[Tensor, "B L"], groups: Bool[Tensor, "G L"]):
        self.logits, self.groups = logits.float(), groups
        super().__init__(logits.shape[:1], validate_args=False)

    @property
    def probs(self) -> Float[Tensor, "B L"]:
        """Probability of each leaf; they need not add up to 1."""
        return self.logits.sigmoid()

    def log_prob(self, value: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Log-probability of the memberships that a code tells; 0 where it is -1 (not known).

        A leaf tells of every leaf whether the cell is of it. A group tells that the cell is of none of the leaves
        outside, and of the group: with the logit ``logsumexp`` of its leaves, whichever of them it is
        (scPRINT, Methods, hierarchical classification).
        """
        n_leaves = self.logits.shape[1]
        leaf = torch.arange(n_leaves, device=value.device) == value.unsqueeze(1)  # (B, L)
        if len(self.groups):
            of_group = (value >= n_leaves).unsqueeze(1)
            held = self.groups[(value - n_leaves).clamp(min=0)] & of_group
            any_held = self.logits.masked_fill(~held, torch.finfo(self.logits.dtype).min).logsumexp(-1)
            whole = torch.where(of_group[:, 0], logsigmoid(any_held), 0.0)
        else:
            held, whole = torch.zeros_like(leaf), torch.zeros_like(self.logits[:, 0])
        told = torch.where(leaf, logsigmoid(self.logits), logsigmoid(-self.logits)).masked_fill(held, 0.0)
        return torch.where(value >= 0, told.sum(-1) + whole, 0.0)
