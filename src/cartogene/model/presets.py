"""Named settings of the one model."""

from cartogene.model.cell_model import CellModel
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.encoders.log_counts import LogCounts
from cartogene.nn.encoders.profile import Profile
from cartogene.nn.heads.labels import Labels
from cartogene.nn.heads.query import Query
from cartogene.nn.heads.zinb import Zinb
from cartogene.nn.transformer import Transformer


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
