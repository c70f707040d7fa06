"""Official dumps and a user's own tables, read into tables of fixed columns."""

from cartogene.knowledge.dumps.declared import collect
from cartogene.knowledge.dumps.dump import COLUMNS, KINDS, Dump, Kind
from cartogene.knowledge.dumps.reading import read
from cartogene.knowledge.dumps.recognition import recognise

__all__ = ["COLUMNS", "KINDS", "Dump", "Kind", "collect", "read", "recognise"]
