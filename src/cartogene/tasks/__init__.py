"""Using weights: every task is a verb with one signature, its result a value."""

from cartogene.tasks.annotate import Annotation, annotate, annotate_all
from cartogene.tasks.denoise import Denoised, denoise
from cartogene.tasks.embed import Embedding, embed, umap
from cartogene.tasks.generate import Generated, generate
from cartogene.tasks.network.infer import infer_network, infer_networks

__all__ = [
    "Annotation",
    "Denoised",
    "Embedding",
    "Generated",
    "annotate",
    "annotate_all",
    "denoise",
    "embed",
    "generate",
    "infer_network",
    "infer_networks",
    "umap",
]
