"""Commands that make an atlas to train on: prepare."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cartogene.cli.shared import Layer, Organism, Out, tell, tracking


def prepare(
    out: Out,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES...", help="Cells: h5ad, zarr, 10x HDF5 or folder, loom; or folders of these."),
    ] = None,
    qc: Annotated[
        str, typer.Option(help="Which cells and files are dropped: paper, published-code or lenient.")
    ] = "paper",
    workers: Annotated[
        int, typer.Option(help="Files at the same time; more than one needs the extra atlas.", min=1)
    ] = 1,
    study: Annotated[str, typer.Option(help="obs column of the study.", show_default="found out, else the file")] = "",
    donor: Annotated[str, typer.Option(help="obs column of the donor.", show_default="found out")] = "",
    batch: Annotated[str, typer.Option(help="obs column of the batch.", show_default="found out")] = "",
    table: Annotated[
        Path | None,
        typer.Option(help="A table of files: file, name, study, donor, donor_column, assay, ...", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A table of labels and their ontology terms: label, term.", show_default=False)
    ] = None,
    layer: Layer = "",
    organism: Organism = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and leave.")] = False,
) -> None:
    """Write an atlas to train on from many files: checked counts, gene ids, terms; nothing else drops cells."""
    from cartogene.cells.intake.build import build
    from cartogene.cells.intake.planned import plan
    from cartogene.cells.intake.quality import preset
    from cartogene.knowledge.labels import read_labels

    columns = {name: column for name, column in (("study", study), ("donor", donor), ("batch", batch)) if column}
    quality = preset(qc)
    jobs = plan(
        files or [],
        out,
        quality,
        columns=columns,
        table=table,
        labels=read_labels(labels) if labels else None,
        organism=organism,
        layer=layer,
    )
    tell(
        f"{len(jobs):,} files, {workers} at the same time; qc {quality.name}: cells of {quality.least_genes} genes and "
        f"more, files of {quality.least_cells} cells and {quality.least_measured:,} genes and more"
    )
    if dry_run:
        _forecast(jobs, workers)
        return
    with tracking("files") as start:
        advance = start("preparing", len(jobs))

        def done(record: dict[str, Any]) -> None:
            tell(_line(record))
            advance(1)

        built = build(jobs, out, workers=workers, done=done)
    _summary(built)
    if not built.n_stores:
        raise typer.Exit(1)


def _forecast(jobs: Any, workers: int) -> None:
    from cartogene.cells.intake.forecast import forecast

    found = forecast(jobs)
    for name, why in found.unusable:
        tell(f"{name}: {why}")
    minutes = found.seconds / workers / 60
    tell(
        f"{found.n_cells:,} cells in {found.n_files} files: about {max(1, minutes):,.0f} minutes with {workers} "
        f"workers, {found.disk / 1e9:,.2f} GB on disk ({found.free / 1e9:,.1f} GB are free), "
        f"{found.spool / 1e9:,.2f} GB more meanwhile; {workers * 0.7:.1f} GB of memory"
    )


def _line(record: dict[str, Any]) -> str:
    """Say in a line what became of a file."""
    if record["outcome"] != "kept":
        return f"{record['name']}: {record['outcome']}: {record['why']}"
    facts = record["facts"]
    by_rule = ", ".join(f"{n:,} {rule}" for rule, n in record["dropped"].items() if n)
    there = "" if record["new"] else " (done before)"
    return (
        f"{record['name']}: {facts['cells']:,} of {record['cells_found']:,} cells x {facts['genes']:,} genes"
        f"{f'; dropped: {by_rule}' if by_rule else ''}{there}"
    )


def _summary(built: Any) -> None:
    outcomes = [record["outcome"] for record in built.files]
    told = ", ".join(f"{outcomes.count(name)} {name}" for name in ("kept", "dropped", "failed") if name in outcomes)
    tell(f"{len(outcomes):,} files: {told}; what was dropped and why: {built.out / 'report.tsv'}")
    tell(f"atlas of {built.n_cells:,} cells in {built.n_stores:,} stores: {built.out}")


COMMANDS = (prepare,)
