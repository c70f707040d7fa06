"""Pictures in scanpy's manner: plain data in, axes out."""

from cartogene.plots import confusion, hubs, network, umap

__all__ = ["confusion", "hubs", "network", "umap"]
