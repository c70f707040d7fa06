"""Commands that look at cells or at a model, or fetch cells: inspect, align, verify, datasets."""

import typer

from cartogene.cli.shared import Cells, Device, Layer, Model, Organism, Out, Overwrite, Precision, tell
from cartogene.errors import FileError


def inspect(cells: Cells, layer: Layer = "", organism: Organism = "") -> None:
    """Say what a file of cells is: counts, genes, organism, depth, and what is unusual about it."""
    from rich.markup import escape
    from rich.table import Table

    from cartogene.cells import schema
    from cartogene.cli.shared import console

    found = schema.inspect(schema.read(cells), layer=layer or None, organism=organism or None, name=cells.name)
    facts = found.facts()
    table = Table("what", "found", title=escape(cells.name))
    for key, value in facts.items():
        if key not in ("name", "notes"):
            table.add_row(key.replace("_", " "), escape(str(value)))
    console.print(table)
    for note in facts["notes"]:
        tell(f"note: {note}")


def align(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    layer: Layer = "",
    organism: Organism = "",
    overwrite: Overwrite = False,
) -> None:
    """Write the cells as a model reads them: raw counts of the genes it knows that were measured."""
    from cartogene.cells import schema
    from cartogene.cells.prepare import prepare as bring
    from cartogene.model.checkpoint import load
    from cartogene.writing import whole

    if out.exists() and not overwrite:
        raise FileError(f"{out}: is there already; choose another --out, or --overwrite it")
    vocabulary = load(model).vocabulary
    ready = bring(schema.read(cells), vocabulary, layer=layer or None, organism=organism or None, name=cells.name)
    with whole(out) as unfinished:
        ready.write_h5ad(unfinished, compression="gzip")
    tell(f"{ready.n_obs:,} cells x {ready.n_vars:,} of {len(vocabulary):,} genes: {out}")


def verify(model: Model = "tiny", device: Device = "auto", precision: Precision = "float32") -> None:
    """Say whether a model gives the same on this device, and in other batches, as on the CPU; fails if it does not."""
    from rich.table import Table

    from cartogene.cli.shared import console
    from cartogene.model.agree import differences
    from cartogene.model.checkpoint import load
    from cartogene.runtime import Runtime

    runtime = Runtime(device=device, precision=precision)  # type: ignore[arg-type]
    found = list(differences(load(model), runtime))
    ways = list(dict.fromkeys(one.way for one in found))
    table = Table("output", *ways, "allowed", title="largest difference from the CPU")
    for first in (one for one in found if one.way == ways[0]):
        of_it = [one for one in found if one.output == first.output]
        table.add_row(first.output, *(f"{one.size:.1e}" for one in of_it), f"{first.allowed:.0e}")
    console.print(table)
    wrong = sum(not one.agrees for one in found)
    where = f"{runtime.torch_device()} in {precision} and the CPU in float32"
    tell(f"{where}: {wrong} of {len(found)} outputs differ" if wrong else f"{where} agree in {len(found)} outputs")
    if wrong:
        raise typer.Exit(1)


COMMANDS = (inspect, align, verify)


def pbmc68k(out: Out, overwrite: Overwrite = False) -> None:
    """Write 700 human blood cells (10x Genomics; Zheng et al. 2017) that come with scanpy."""
    from cartogene import datasets as shipped
    from cartogene.writing import whole

    if out.exists() and not overwrite:
        raise FileError(f"{out}: is there already; choose another --out, or --overwrite it")
    adata = shipped.pbmc68k()
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as unfinished:
        adata.write_h5ad(unfinished)
    tell(f"{adata.n_obs:,} cells: {out}")


def datasets() -> None:
    """Cells to try things on."""


DATASETS = (pbmc68k,)
