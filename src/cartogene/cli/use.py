"""Commands that use a model: run, embed, annotate, denoise, generate, network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cartogene.cli.shared import (
    Cells,
    Device,
    Layer,
    Model,
    Organism,
    Out,
    Overwrite,
    Precision,
    Seed,
    tell,
    tracking,
)
from cartogene.errors import FileError

Genes = Annotated[
    str, typer.Option(help="How many genes: the most variable ones. Or which: names with commas between, or a file.")
]

Shown = Annotated[
    str,
    typer.Option(
        "--genes",
        help="Genes that every cell shows: names with commas between, a file of them, or an .h5ad that was embedded "
        "before: then those that its cells showed.",
        show_default="as the model has it",
    ),
]


def run(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    label: Annotated[str, typer.Option(help="obs column with labels of yours to compare with.")] = "",
    groupby: Annotated[
        str, typer.Option(help="obs column whose groups get a network each.", show_default="predicted")
    ] = "",
    genes: Annotated[int, typer.Option(help="Genes denoised and in a network, at most.")] = 1000,
    top: Annotated[int, typer.Option(help="Regulators kept per target gene.")] = 20,
    least_cells: Annotated[int, typer.Option(help="Groups with fewer cells get no network.")] = 50,
    layer: Layer = "",
    organism: Organism = "",
    device: Device = "auto",
    precision: Precision = "float32",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and leave.")] = False,
) -> None:
    """Do the main job: inspect, prepare, embed, annotate, denoise, networks, report."""
    from cartogene import job, opening
    from cartogene.runtime import Runtime

    runtime = Runtime(device=device, precision=precision, seed=seed)  # type: ignore[arg-type]
    options = opening.Options(
        model=model,
        label=label,
        groupby=groupby,
        genes=genes,
        top=top,
        least_cells=least_cells,
        layer=layer,
        organism=organism,
        overwrite=overwrite,
        runtime=runtime,
    )
    if dry_run:
        opened = opening.open_cells(cells, options)
        for sentence in opening.decided(opened, options):
            tell(sentence)
        cost = opening.forecast(opened, options)
        tell(
            f"forecast: about {cost['seconds'] / 60:.1f} minutes, {cost['memory'] / 2**30:.1f} GB of memory, "
            f"{cost['disk'] / 2**20:.0f} MB on disk"
        )
        return
    with tracking() as track:
        report = job.run(cells, out, options, told=tell, track=track)
    tell(f"report: {report}")


def embed(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    tokens: Annotated[
        str,
        typer.Option(help="Cell tokens whose mean is taken, with commas between.", show_default="as the model says"),
    ] = "",
    each: Annotated[bool, typer.Option("--each", help="Write every cell token by itself, too.")] = False,
    logits: Annotated[bool, typer.Option("--logits", help="Write the logits of every label family, too.")] = False,
    genes: Shown = "",
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Give every cell a vector; write the cells with obsm["X_cartogene"]."""
    from cartogene import tl

    chosen: dict[str, Any] = {"tokens": _words(tokens) if tokens else None, "genes": _shown(genes)}
    change = partial(tl.embed, model=model, each=each, logits=logits, runtime=_runtime(device, seed), **chosen)
    _each("embed", cells, out, overwrite, change)


def annotate(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    family: Annotated[str, typer.Option(help="Label family, such as cell_type or disease; or all.")] = "cell_type",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of every leaf, too.")
    ] = False,
    genes: Shown = "",
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Label every cell; write the cells with obs["cartogene_cell_type"] and how sure the model is."""
    from cartogene import tl

    how: dict[str, Any] = {"genes": _shown(genes), "runtime": _runtime(device, seed)}
    change = partial(tl.annotate, model=model, family=family, probabilities=probabilities, **how)
    _each("annotate", cells, out, overwrite, change)


def denoise(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    genes: Genes = "1000",
    depth_mult: Annotated[float, typer.Option(help="How many times deeper the cells are thought.")] = 1.0,
    dropout: Annotated[bool, typer.Option("--dropout", help="Let the mean include counts that get lost.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Give expected counts; write the cells with layers["cartogene_denoised"] (NaN where a gene was not denoised)."""
    from cartogene import tl

    runtime = _runtime(device, seed)
    change = partial(
        tl.denoise, model=model, genes=_genes(genes), depth_mult=depth_mult, dropout=dropout, runtime=runtime
    )
    _each("denoise", cells, out, overwrite, change)


def generate(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    genes: Genes = "1000",
    total: Annotated[
        float | None, typer.Option(help="Counts that the genes hold together in a cell.", show_default="as counted")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Give the counts that the states of the cells alone tell; write the cells with layers["cartogene_generated"]."""
    from cartogene import tl

    change = partial(tl.generate, model=model, genes=_genes(genes), total=total, runtime=_runtime(device, seed))
    _each("generate", cells, out, overwrite, change)


def network(
    cells: Cells,
    out: Out,
    model: Model = "tiny",
    groupby: Annotated[
        str, typer.Option(help="obs column whose groups get a network each.", show_default="all cells")
    ] = "",
    genes: Annotated[int, typer.Option(help="Genes in a network, at most: the most variable ones.")] = 1000,
    top: Annotated[int, typer.Option(help="Regulators kept per target gene.")] = 20,
    least_cells: Annotated[int, typer.Option(help="Groups with fewer cells get no network.")] = 50,
    score: Annotated[str, typer.Option(help="specific, attention, or published.")] = "specific",
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Infer gene networks; write OUT.parquet, or with --groupby a folder OUT with one file per group."""
    from cartogene import tasks
    from cartogene.cells.schema import read
    from cartogene.errors import ConfigError
    from cartogene.model.checkpoint import load
    from cartogene.tasks.network.groups import large_groups, named, small_groups
    from cartogene.writing import file_names, new_folder

    _free(out, overwrite, (out.suffix,) if groupby else (".parquet", ""))
    adata, checkpoint = read(cells), load(model)
    chosen: dict[str, Any] = {"genes": genes, "top": top, "score": score, "runtime": _runtime(device, seed)}
    if not groupby:
        with tracking() as track:
            advance = track("network", min(adata.n_obs, 1024))
            graph = tasks.infer_network(checkpoint, adata, advance=advance, **chosen)
        tell(f"{len(graph):,} edges: {graph.write(out)}")
        return
    if groupby not in adata.obs:
        raise ConfigError(f"groupby: found {groupby!r}, expected a column of obs; it has {', '.join(adata.obs)}")
    groups = named(adata.obs[groupby])
    sizes = [int((groups == name).sum()) for name in large_groups(groups, least_cells)]
    with new_folder(out, overwrite=overwrite) as folder, tracking() as track:
        advance = track("networks", sum(min(size, 1024) for size in sizes))
        found = dict(tasks.infer_networks(checkpoint, adata, groups, least=least_cells, advance=advance, **chosen))
        files = file_names(found)
        for name, graph in found.items():
            graph.write(folder / f"{files[name]}.parquet")
            tell(f"{name}: {len(graph):,} edges: {out / files[name]}.parquet")
    for note in small_groups(groups, least_cells):
        tell(f"note: {note}")


COMMANDS = (run, embed, annotate, denoise, generate, network)


def _runtime(device: str, seed: int) -> Any:
    from cartogene.runtime import Runtime

    return Runtime(device=device, seed=seed)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _genes(text: str) -> int | list[str]:
    """Return a number of genes; or names, as they are or one per line of a file."""
    try:
        return int(text)
    except ValueError:
        if "," in text or not _is_file(text):
            return _words(text)
        found = Path(text).read_text(encoding="utf-8-sig", errors="replace")
        return found.replace(",", " ").split()


def _shown(text: str) -> list[str] | None:
    """Return the names of genes to show; those that the cells of an embedded or annotated file showed."""
    if not text.endswith(".h5ad"):
        found = _genes(text) if text else None
        return [text] if isinstance(found, int) else found
    from cartogene.cells.schema import read
    from cartogene.tasks.result import known_of

    known = known_of(read(text))
    for what in ("embed", "annotate"):
        if what in known and "genes_shown" in known[what]:
            return [str(name) for name in known[what]["genes_shown"]]
    raise FileError(
        f"{text}: found no uns['cartogene']['embed']['genes_shown'], expected the genes that its cells showed; "
        "embed it with this model first, or give names"
    )


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a name: many genes with blanks between
        return False


def _free(out: Path, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """Refuse a place that is taken, or whose name promises another kind of file."""
    if out.exists() and not overwrite:
        raise FileError(f"{out}: is there already; choose another --out, or --overwrite it")
    if out.suffix not in suffixes:
        raise FileError(f"{out}: found {out.suffix or 'no suffix'}, expected {suffixes[0]}; choose another --out")


def _each(what: str, cells: Path, out: Path, overwrite: bool, change: Callable[..., Any]) -> None:
    """Read cells, change them, write them whole or not at all."""
    from cartogene.cells.schema import read
    from cartogene.writing import whole

    _free(out, overwrite, (".h5ad",))
    adata = read(cells)
    with tracking() as track:
        change(adata, advance=track(what, adata.n_obs))
    with whole(out) as unfinished:
        adata.write_h5ad(unfinished, compression="gzip")
    tell(f"{adata.n_obs:,} cells: {out}")
