"""One self-contained HTML page: values, sentences, pictures and tables in; one file out."""

from cartogene.report.page import Page, Picture, Section, Table, facts_table, write

__all__ = ["Page", "Picture", "Section", "Table", "facts_table", "write"]
