"""Named settings of the one model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cartogene.errors import ConfigError
from cartogene.model.cell_model import DEPTH, CellModel
from cartogene.nn.edge_features import Distance, Flag, Number
from cartogene.nn.encoders.binned import Binned
from cartogene.nn.encoders.expression import Expression
from cartogene.nn.encoders.features import Features, Projection
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.encoders.locus import Locus
from cartogene.nn.encoders.log_counts import LogCounts
from cartogene.nn.encoders.perturbed import Perturbed
from cartogene.nn.encoders.profile import Profile
from cartogene.nn.encoders.rank import Rank
from cartogene.nn.encoders.study import Study
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.change import Change
from cartogene.nn.heads.classes import Classes
from cartogene.nn.heads.gene import Gene
from cartogene.nn.heads.labels import Labels
from cartogene.nn.heads.mean import Mean
from cartogene.nn.heads.memberships import LeafMemberships
from cartogene.nn.heads.nb import Nb
from cartogene.nn.heads.query import Query
from cartogene.nn.heads.value import Value
from cartogene.nn.heads.value_query import ValueQuery
from cartogene.nn.heads.zinb import Zinb
from cartogene.nn.initial import PUBLISHED
from cartogene.nn.message import Messages
from cartogene.nn.post_norm import PostNorm
from cartogene.nn.state_norm import StateNorm
from cartogene.nn.token_norm import TokenNorm
from cartogene.nn.transformer import Transformer
from cartogene.settings import Settings


def tiny(*, width: int = 128, depth: int = 4, heads: int = 4) -> CellModel.Config:
    """The model that ships: attention only, learned gene vectors, log counts.

    The shape of scPRINT's small model without its protein features and gene locations; with a query head so that the
    cell tokens of unlabelled cells learn, too.
    """
    return CellModel.Config(
        width=width,
        cell_tokens=("base", "depth", "cell_type"),
        genes=(Learned.Config(),),
        counts=LogCounts.Config(),
        mixers=(Transformer.Config(depth=depth, heads=heads),),
        cells=Profile.Config(),
        heads=(Zinb.Config(), Query.Config(), Labels.Config(dropout=0.1)),
    )


@dataclass(frozen=True)
class Shape:
    """Blocks, heads and width of a published size, and the hidden layers of its label heads."""

    depth: int
    heads: int
    width: int
    hidden: tuple[int, ...]


Size = Literal["small", "medium", "large", "vlarge", "xlarge"]
SCPRINT: dict[Size, Shape] = {
    "small": Shape(4, 2, 128, (128,)),
    "medium": Shape(8, 4, 256, (256,)),  # 4 heads as in the reference run; the published settings file says 2
    "large": Shape(16, 8, 512, (512,)),  # 8 heads as in the published weights; the settings file says 4
    "vlarge": Shape(32, 20, 1280, (512,)),
    "xlarge": Shape(36, 40, 2560, (1024,)),
}
COUNTS: dict[str, Callable[..., Settings]] = {"zinb": Zinb.Config, "nb": Nb.Config, "mean": Mean.Config}
FAMILIES = ("cell_type", "disease", "assay", "self_reported_ethnicity", "sex", "organism")
FAMILIES_OF_1_5 = ("cell_type", "tissue", "disease", "age_group", *FAMILIES[2:])


def scprint(
    size: Size | Shape = "medium",
    *,
    families: Sequence[str] = FAMILIES,
    normalise: Literal["sum", "log"] = "sum",
    counts: Literal["zinb", "nb", "mean"] = "zinb",
    drop_path: float = 0.0,
    shift: float | None = None,
    proteins: int | None = None,
    places: Literal["table", "computed"] = "table",
) -> CellModel.Config:
    """Return scPRINT 1.x: protein features and locations, attention, zero-inflated counts, a label head per family.

    The tables ``proteins`` (vectors, one per gene) and ``locus`` (the sinusoid of each gene's location) are given when
    the model is built, or come with the weights.

    Parameters
    ----------
    size
        As published, or a shape of your own.
    families
        Label families, in the order of their cell tokens; `FAMILIES_OF_1_5` for the later layout with ten tokens.
    normalise
        Counts enter as shares of the genes shown (``sum``: what the code does) or as log2(1 + x) (what the paper says).
    counts
        What is said of a count: a zero-inflated or a plain negative binomial, or its mean alone.
    drop_path
        Chance that a cell skips a branch of the last block; 0 in the published settings, 0.02 in the paper.
    shift
        None leaves the protein features as they are, as published; 0.0 lets them be trained, too.
    proteins
        Numbers per gene in the table ``proteins``, such as 1280 of ESM2: neighbouring ones are averaged down to the
        width. None: there are as many as the width already.
    places
        The sinusoid is a table, as published, or is computed of location numbers: the table ``locus`` holds those.

    References
    ----------
    Kalfon et al. (2025). Nature Communications 16, 3607.
    """
    shape = size if isinstance(size, Shape) else SCPRINT[size]
    known, locus = (
        Features.Config(source=source, size=size, projection=None, absent=None)
        for source, size in (("proteins", proteins or shape.width), ("locus", shape.width))
    )
    heads = tuple(LeafMemberships.Config(name=name, hidden=shape.hidden, dropout=0.1) for name in families)
    return CellModel.Config(
        width=shape.width,
        cell_tokens=("base", DEPTH, *families),
        genes=(replace(known, shift=shift), locus if places == "table" else Locus.Config()),
        counts=Expression.Config(normalise=normalise, dropout=0.1),
        depth=Expression.Config(normalise="log", dropout=0.1),
        mixers=(Transformer.Config(depth=shape.depth, heads=shape.heads, dropout=0.1, drop_path=drop_path),),
        heads=(
            COUNTS[counts](dropout=0.1, spread=PUBLISHED),
            Query.Config(genes=0, counts=counts, spread=PUBLISHED),
            *heads,
        ),
        cell_spread=1.0,
    )


RELATIONS = ("regulation", "coexpression", "chromosome")
PERTURBED: dict[str, Settings] = {
    "values": Value.Config(),
    "three": Change.Config(classes=3),
    "five": Change.Config(classes=5),
}


def cgcompass(
    *,
    width: int = 512,
    depth: int = 12,
    heads: int = 8,
    messages: int = 3,
    relations: Sequence[str] = RELATIONS,
    text: int | None = 768,
    dropout: float = 0.2,
    studies: int | None = None,
    families: Sequence[str] = (),
    perturbed: Literal["values", "three", "five"] | None = None,
) -> CellModel.Config:
    """Return Cell-GraphCompass: binned values, text features, a graph between the genes of a cell, then attention.

    The table ``text`` (vectors of what is written of each gene) is given when the model is built, or comes with the
    weights. Cells come with their bins as `CellBatch.values` and with the edges of a graph as `CellBatch.edges`.

    Parameters
    ----------
    width, depth, heads
        Of the attention blocks.
    messages
        Layers that send messages along the graph; 0 leaves the graph out.
    relations
        What an edge knows of itself; without any, the graph is left out.
    text
        Numbers per gene in the table of texts; 0 or None leaves it out.
    dropout
        In training only, everywhere.
    studies
        How many studies the cells are from: the heads that say values are told the study of a cell, and one more learns
        to tell it by the cell state, against the model. None: studies are not told apart.
    families
        Label families that are read off the cell state.
    perturbed
        What is said of each gene of a perturbed cell: its value; or whether it goes down, stays or goes up (three); or
        these by little or much (five). Such a model has no cell token, and is shown logarithms instead of bins. None:
        the model of cells, which says values from the state of each gene and from that of the cell.

    Raises
    ------
    ConfigError
        If a relation is none of the three, or stands twice.

    References
    ----------
    Fang et al. (2025). National Science Review 12, nwaf255.
    """
    bent = Projection.Config(activation="relu")
    told = () if not text else (Features.Config(source="text", size=text, projection=bent, absent=None),)
    if isinstance(relations, str) or not set(relations) <= set(RELATIONS) or len(set(relations)) < len(relations):
        raise ConfigError(f"relations: found {relations!r}, expected some of {', '.join(RELATIONS)}, each once")
    edges = tuple(_edge(relation, dropout) for relation in relations)
    graph = (Messages.Config(edges=edges, depth=messages, dropout=dropout),) if messages and edges else ()
    read: tuple[Settings, ...] = (Value.Config(), ValueQuery.Config(genes=0))
    read += () if studies is None else (Adversary.Config(studies=studies, tokens="all", norm="behind"),)
    return CellModel.Config(
        width=width,
        cell_tokens=("cell",) if perturbed is None else (),
        genes=(Learned.Config(values="uniform", norm=True), *told),
        counts=Binned.Config(dropout=dropout),
        mixers=(TokenNorm.Config(), *graph, PostNorm.Config(depth=depth, heads=heads, dropout=dropout)),
        heads=(*read, *(Classes.Config(name=name) for name in families))
        if perturbed is None
        else (PERTURBED[perturbed],),
        cells_as_genes=True,
        perturbed=None if perturbed is None else Perturbed.Config(),
        studies=None if studies is None else Study.Config(studies=studies),
    )


def _edge(relation: str, dropout: float) -> Settings:
    """Return what an edge knows of itself by a relation."""
    if relation == "regulation":
        return Flag.Config(source="regulation")
    if relation == "coexpression":
        return Number.Config(source="coexpression.correlation", dropout=dropout)
    return Distance.Config(source="chromosome.distance")


def ranked(
    *, width: int = 512, depth: int = 12, heads: int = 8, dropout: float = 0.02, ranks: int = 2048
) -> CellModel.Config:
    """Return a transformer over genes in the order in which they stand out, which tells masked genes (Geneformer-like).

    Each gene enters as its learned vector and that of its rank, and a cell has a token of its own. Cells come with
    ranks as `CellBatch.values`, see `cartogene.cells.seen.Seen`.

    Parameters
    ----------
    width, depth, heads
        Of the attention blocks.
    dropout
        In training only, everywhere.
    ranks
        So many have a vector of their own.

    References
    ----------
    Devlin et al. (2019). NAACL, 4171; Theodoris et al. (2023). Nature 618, 616.
    """
    blocks = PostNorm.Config(depth=depth, heads=heads, dropout=dropout, activation="gelu")
    return CellModel.Config(
        width=width,
        cell_tokens=("cell",),
        genes=(Learned.Config(scale=PUBLISHED),),
        counts=Rank.Config(ranks=ranks),
        mixers=(StateNorm.Config(dropout=dropout), blocks),
        heads=(Gene.Config(),),
        masks_genes=True,
    )
