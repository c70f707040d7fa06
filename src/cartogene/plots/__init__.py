"""Pictures: plain arrays and tables in, axes out; the caller shows, saves or embeds them."""

from cartogene.plots.confusion import confusion
from cartogene.plots.hubs import hubs
from cartogene.plots.network import network
from cartogene.plots.palette import OUTSIDE, UNKNOWN, palette
from cartogene.plots.umap import umap

__all__ = ["OUTSIDE", "UNKNOWN", "confusion", "hubs", "network", "palette", "umap"]
