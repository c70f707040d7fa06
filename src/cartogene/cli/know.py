"""Commands about knowledge bases: knowledge build, show, embed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cartogene.cli.shared import (
    Device,
    Out,
    Overwrite,
    Precision,
    Seed,
    console,
    tell,
    tracking,
)
from cartogene.errors import ConfigError, FileError

if TYPE_CHECKING:
    import pandas as pd

    from cartogene.knowledge.base import KnowledgeBase
    from cartogene.knowledge.inputs import Input

From = Annotated[
    list[Path],
    typer.Option("--from", help="A file, or a folder of files; say it again for more.", show_default=False),
]
Whose = Annotated[str, typer.Option(help="human, mouse, or another whose gene table is given.", show_default=False)]


def knowledge() -> None:
    """Gene knowledge: build it from dumps and tables of yours, look at it, embed texts, map names."""


def build(
    places: From,
    organism: Whose,
    out: Out,
    neighbours: Annotated[int, typer.Option(help="Genes away that still count as neighbours; 0 for none.")] = 50,
    protein: Annotated[str, typer.Option(help="Of a gene's proteins the first in the file, or the longest.")] = "first",
    width: Annotated[int, typer.Option(help="Numbers per gene in vectors computed without a language model.")] = 128,
    seed: Seed = 0,
    ontology: Annotated[
        list[str] | None,
        typer.Option(help="One of cellxgene-ontology-guide, such as CL; say it again for more.", show_default="none"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="A table (tsv) of the names that are no gene.", show_default="not written")
    ] = None,
    open_only: Annotated[bool, typer.Option("--open-only", help="Leave out what is not openly licensed.")] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each file is taken for, and leave.")] = False,
) -> None:
    """Compile dumps, and tables of yours, into one knowledge file (.cgk)."""
    from cartogene.knowledge import build as compiling
    from cartogene.knowledge.inputs import inputs
    from cartogene.writing import whole

    if protein not in {"first", "longest"}:
        raise ConfigError(f"protein: found {protein!r}, expected first or longest")
    listed = inputs(places, organism)
    if dry_run:
        _foretell(listed, organism)
        return
    for path in (out, report):
        if path is not None:
            free(path, overwrite)
    tell(f"{organism}: {sum(not one.ignored for one in listed)} of {len(listed)} files are read")
    with tracking() as track:
        base = compiling.build(
            places,
            organism,
            neighbours=neighbours,
            protein=protein,  # type: ignore[arg-type]
            width=width,
            seed=seed,
            ontologies=ontology or (),
            open_only=open_only,
            told=tell,
            track=track if console.is_terminal else compiling.no_track,
        )
    if report is not None:
        with whole(report) as unfinished:
            base.lost.to_csv(unfinished, sep="\t", index=False)
        tell(f"{len(base.lost):,} names that are no gene: {report}")
    base.write(out)
    tell(f"{base}")
    tell(f"{out.stat().st_size / 1e6:.1f} MB: {out}")


def free(path: Path, overwrite: bool) -> None:
    """Refuse a place that is taken or cannot be, before any work is done for it."""
    if path.exists() and not overwrite:
        raise FileError(f"{path}: is there already; choose another place, or --overwrite it")
    if not path.parent.is_dir():
        raise FileError(f"{path.parent}: no such folder; make it, or choose another place")


def _foretell(listed: "list[Input]", organism: str) -> None:
    """Say what each file is taken for, and what building will cost."""
    from rich.markup import escape
    from rich.table import Table

    from cartogene.knowledge.inputs import forecast

    table = Table("file", "MB", "taken for", title=f"knowledge of {escape(organism)}")
    for one in listed:
        what = f"left out: {one.ignored}" if one.ignored else str(one.kind)
        table.add_row(escape(one.path.name), f"{one.size / 1e6:.1f}", escape(what))
    console.print(table)
    cost = forecast(listed)
    tell(
        f"forecast: about {cost['seconds']:.0f} seconds, {cost['memory'] / 2**30:.1f} GB of memory, "
        f"{cost['disk'] / 1e6:.0f} MB on disk; nothing was written"
    )


def show(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="A .cgk file.", show_default=False)],
) -> None:
    """Say what is inside a knowledge file, and where it comes from: versions, licences, citations."""
    from rich.markup import escape
    from rich.table import Table

    from cartogene.knowledge.base import Opened
    from cartogene.knowledge.container import Container

    opened = Opened(Container(base))
    inside = Table("part", "what", "size", "MB", title=f"{escape(base.name)}: {escape(opened.organism.name)}")
    for place, what, size in _parts(opened):
        inside.add_row(escape(place), escape(what), size, f"{opened.file.bytes_below(place) / 1e6:.2f}")
    console.print(inside)
    tell("sources:")
    for source in opened.sources:
        licence = source.licence if source.is_open else f"{source.licence} (not on the list of open licences)"
        tell(f"- {' '.join(filter(None, (source.name, source.version)))}: {source.what}. Licence: {licence}.")
        origin = [source.file, source.url, source.citation]
        tell(f"  {'; '.join(filter(None, origin))}; sha256 {source.sha256}")
    for file, facts in opened.provenance.get("names", {}).items():
        if facts["lost"]:
            tell(f"note: {file}: {facts['lost']:,} of {facts['names']:,} names are no gene, such as {facts['such as']}")


def _parts(base: "KnowledgeBase") -> list[tuple[str, str, str]]:
    """Name every part by its place in the file, with what it is and how much there is of it."""
    inside = base.contents
    genes = inside["genes"]
    rows = [
        ("genes/table", "genes", f"{genes['table']:,}"),
        ("genes/vocabulary", f"genes with a position ({genes['fingerprint']})", f"{genes['vocabulary']:,}"),
        ("genes/aliases", "other names", f"{genes['aliases']:,}"),
        ("genes/orthologs", "pairs of orthologs", f"{genes['orthologs']:,}"),
    ]
    for name, one in inside["features"].items():
        rows.append((f"features/{name}", one["kind"], f"{one['genes']:,} genes x {one['width']}"))
    for name, one in inside["relations"].items():
        said = ", ".join(one["provenance"].get("sources", [])) or one["provenance"].get("rule", "")
        rows.append((f"relations/{name}", said, f"{one['edges']:,} edges"))
    for name, one in inside["sets"].items():
        rows.append((f"sets/{name}", "gene sets", f"{one['sets']:,} sets, {one['memberships']:,} memberships"))
    for name, one in inside["ontologies"].items():
        rows.append((f"ontologies/{name}", f"ontology {one['version']}", f"{one['terms']:,} terms"))
    rows += [(part, part, f"{inside[part]['genes']:,} genes") for part in ("summaries", "proteins")]
    return [*rows, ("lost", "names that are no gene", f"{inside['lost']['names']:,}")]


def embed(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .cgk file, a FASTA file, or a table of texts.", show_default=False)
    ],
    what: Annotated[str, typer.Option(help="proteins or summaries.", show_default=False)],
    model: Annotated[str, typer.Option(help="Folder of a language model on this machine.", show_default=False)],
    out: Out,
    device: Device = "auto",
    precision: Precision = "float32",
    overwrite: Overwrite = False,
) -> None:
    """Make a vector per gene from proteins or descriptions by a language model; add it with build --from."""
    from cartogene import language
    from cartogene.runtime import Runtime

    if what not in {"proteins", "summaries"}:
        raise ConfigError(f"what: found {what!r}, expected proteins or summaries")
    free(out, overwrite)
    runtime = Runtime(device=device, precision=precision)  # type: ignore[arg-type]
    texts = _texts(file, what)  # type: ignore[arg-type]
    where = runtime.describe()
    tell(f"{len(texts):,} {what} by {model}; device {where['device']}, {where['precision']}")
    reading: Callable[..., language.Embedded] = language.embed_proteins if what == "proteins" else language.embed_texts
    with tracking() as track:
        advance = track(what, len(set(texts.values()))) if console.is_terminal else lambda _: None
        found = reading(texts, model, runtime=runtime, out=out, advance=advance)
    tell(f"{found.kind}: {found.values.shape[0]:,} genes x {found.values.shape[1]}: {out}")
    tell(f"add it: cartogene knowledge build --from BASE.cgk --from {out} --organism ... --out NEW.cgk")


def _texts(file: Path, what: Literal["proteins", "summaries"]) -> dict[str, str]:
    """Read proteins or descriptions by gene: of a knowledge base, or of any dump that holds such."""
    from cartogene.knowledge import dumps
    from cartogene.knowledge.base import KnowledgeBase
    from cartogene.knowledge.gather import one_protein

    if file.suffix == ".cgk":
        base = KnowledgeBase.open(file)
        found = dict(zip(base.proteins["gene"], base.proteins["sequence"], strict=True))
        found = found if what == "proteins" else dict(base.summaries)
    else:
        dump = dumps.read(file, declared={"kind": what})
        table: pd.DataFrame = one_protein(dump.table) if what == "proteins" else dump.table.drop_duplicates("gene")
        found = dict(zip(table["gene"], table["sequence" if what == "proteins" else "text"], strict=True))
    if not found:
        raise FileError(f"{file}: found no {what}, expected some; build the base with a file of them")
    return found


COMMANDS: dict[str, Callable[..., None]] = {"build": build, "show": show, "embed": embed}
