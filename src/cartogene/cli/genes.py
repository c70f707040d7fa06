"""Commands about genes: knowledge map, correlate."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cartogene.cli.know import free
from cartogene.cli.shared import Cells, Layer, Organism, Out, Overwrite, tell, tracking
from cartogene.errors import FileError, OrganismError


def map_names(
    names: Annotated[
        Path, typer.Argument(metavar="NAMES", help="A text file with a name per line, or an h5ad.", show_default=False)
    ],
    organism: Organism = "",
    base: Annotated[
        Path | None, typer.Option(help="Map onto the genes of a .cgk file.", show_default="all human or mouse genes")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes, name by name (tsv).", show_default="not written")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the gene that each name stands for; say how many were found, how, and why the others were not."""
    from cartogene.genes import Vocabulary, guess_organism, load, map_to
    from cartogene.genes.organism import canonical
    from cartogene.knowledge.base import KnowledgeBase

    if out is not None:
        free(out, overwrite)
    texts, symbols = _names(names)
    opened = KnowledgeBase.open(base) if base is not None else None
    whose = organism or (opened.organism if opened else guess_organism(texts))
    if whose is None:
        raise OrganismError(
            f"{names}: found names such as {texts[0]!r}, expected human or mouse genes; give --organism"
        )
    table = opened.table if opened else load(whose)
    if str(table.organism) != canonical(str(whose)):
        raise OrganismError(f"{base}: found genes of {table.organism}, expected {whose}; give a base of that organism")
    found = map_to(
        texts, opened.vocabulary if opened else Vocabulary.of(table, table.genes.index), table, symbols=symbols
    )
    tell(f"{names.name}, {table.organism}: {found.summary()}")
    if out is not None:
        tell(f"name by name: {found.write(out)}")


def _names(file: Path) -> tuple[list[str], list[str] | None]:
    """Read names from a text file, or from var of an h5ad file, there with a second name for each if there is one."""
    from cartogene.cells.naming import NAME_COLUMN
    from cartogene.cells.schema import read

    if file.suffix == ".h5ad":
        var = read(file).var
        second = [
            column for column in var if NAME_COLUMN.fullmatch(str(column)) and var[column].dtype.kind not in "biuf"
        ]
        return var.index.astype(str).tolist(), var[second[0]].astype(str).tolist() if second else None
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file}: cannot be read as text ({error}); give a file with a gene name per line") from error
    if not (names := [line.strip() for line in lines if line.strip()]):
        raise FileError(f"{file}: found no name, expected one per line")
    return names, None


def correlate(
    cells: Cells,
    out: Out,
    threshold: Annotated[float, typer.Option(help="Genes with a stronger correlation are linked.")] = 0.6,
    layer: Layer = "",
    organism: Organism = "",
    overwrite: Overwrite = False,
) -> None:
    """Link the genes that rise and fall together in a file of cells: edges (.parquet) for one more --from."""
    import numpy as np
    import scipy.sparse as sp

    from cartogene.cells import schema
    from cartogene.cells.prepare import prepare
    from cartogene.genes import Vocabulary, load
    from cartogene.knowledge.coexpression import coexpression

    free(out, overwrite)
    adata = schema.read(cells)
    found = schema.inspect(adata, layer=layer or None, organism=organism or None, name=cells.name)
    table = load(found.organism)
    vocabulary = Vocabulary.of(table, table.genes.index)
    ready = prepare(adata, vocabulary, name=cells.name, found=found)
    depth = np.maximum(ready.obs["cartogene_depth"].to_numpy(np.float32), 1)
    values = sp.csr_matrix(sp.diags_array(1e4 / depth) @ ready.X).log1p().astype(np.float32)
    position = np.where(np.diff(values.tocsc().indptr) > 0, ready.var["position"].to_numpy(), 0)
    tell(f"{ready.n_obs:,} cells, {np.count_nonzero(position):,} genes with counts, log1p(counts per 10,000)")
    with tracking() as track:
        graph = coexpression(
            values, position, vocabulary, threshold=threshold, track=track("correlating, twice", 2 * ready.n_obs)
        )
    tell(f"{len(graph):,} edges between {len(graph.genes):,} genes: {graph.write(out)}")


COMMANDS: dict[str, Callable[..., None]] = {"map": map_names, "correlate": correlate}
