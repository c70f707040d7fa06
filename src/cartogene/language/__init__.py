"""Vectors of proteins and of descriptions from language models that lie on this machine."""

from cartogene.language.embed import Embedded, embed_proteins, embed_texts

__all__ = ["Embedded", "embed_proteins", "embed_texts"]
