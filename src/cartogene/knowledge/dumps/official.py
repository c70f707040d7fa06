"""What is known of the databases whose dumps are recognised: licence, address, citation."""

import re
from pathlib import Path
from typing import Any

from cartogene.knowledge.source import Source

EBI = "no restrictions (EMBL-EBI terms of use)"
NCBI = "public domain (NCBI)"

OFFICIAL = {
    source.name: source
    for source in (
        Source(
            "Ensembl",
            licence=EBI,
            url="https://www.ensembl.org",
            citation="Martin et al. 2023, Ensembl 2023. doi:10.1093/nar/gkac958",
        ),
        Source(
            "GENCODE",
            licence=EBI,
            url="https://www.gencodegenes.org",
            citation="Frankish et al. 2023, GENCODE: reference annotation. doi:10.1093/nar/gkac1071",
        ),
        Source(
            "HGNC",
            licence="CC0-1.0",
            url="https://www.genenames.org",
            citation="Seal et al. 2023, Genenames.org: the HGNC resources in 2023. doi:10.1093/nar/gkac888",
        ),
        Source(
            "NCBI Gene",
            licence=NCBI,
            url="https://www.ncbi.nlm.nih.gov/gene",
            citation="Brown et al. 2015, Gene: a gene-centered information resource at NCBI. doi:10.1093/nar/gku1055",
        ),
        Source(
            "MGI",
            licence="CC-BY-4.0",
            url="https://www.informatics.jax.org",
            citation="Baldarelli et al. 2024, Mouse Genome Informatics. doi:10.1093/genetics/iyae031",
        ),
        Source(
            "UniProt",
            licence="CC-BY-4.0",
            url="https://www.uniprot.org",
            citation="The UniProt Consortium 2023. doi:10.1093/nar/gkac1052",
        ),
        Source(
            "STRING",
            licence="CC-BY-4.0",
            url="https://string-db.org",
            citation="Szklarczyk et al. 2023, The STRING database in 2023. doi:10.1093/nar/gkac1000",
        ),
        Source(
            "BioGRID",
            licence="MIT",
            url="https://thebiogrid.org",
            citation="Oughtred et al. 2021, The BioGRID database. doi:10.1002/pro.3978",
        ),
        Source(
            "TRRUST",
            version="2",
            licence="CC-BY-SA-4.0",
            url="https://www.grnpedia.org/trrust",
            citation="Han et al. 2018, TRRUST v2. doi:10.1093/nar/gkx1013",
        ),
        Source(
            "Gene Ontology",
            licence="CC-BY-4.0",
            url="https://geneontology.org",
            citation="The Gene Ontology Consortium 2023. doi:10.1093/genetics/iyad031",
        ),
        Source(
            "Cell Ontology",
            licence="CC-BY-4.0",
            url="https://obofoundry.org/ontology/cl.html",
            citation="Diehl et al. 2016, The Cell Ontology 2016. doi:10.1186/s13326-016-0088-7",
        ),
        Source(
            "UBERON",
            licence="CC-BY-3.0",  # as the OBO Foundry lists it; a licence that the file itself states counts more
            url="https://obofoundry.org/ontology/uberon.html",
            citation="Haendel et al. 2014, Unification of multi-species vertebrate anatomy ontologies. "
            "doi:10.1186/2041-1480-5-21",
        ),
        Source(
            "MONDO",
            licence="CC-BY-4.0",
            url="https://obofoundry.org/ontology/mondo.html",
            citation="Vasilevsky et al. 2022, Mondo: unifying diseases for the world. doi:10.1101/2022.04.13.22273750",
        ),
        Source(
            "HANCESTRO",
            licence="CC-BY-4.0",
            url="https://obofoundry.org/ontology/hancestro.html",
            citation="Morales et al. 2018, A standardized framework for ancestry data. doi:10.1186/s13059-018-1396-2",
        ),
        Source(
            "EFO",
            licence="Apache-2.0",  # not one of the open ones of the shipped index, which it is not part of
            url="https://www.ebi.ac.uk/efo",
            citation="Malone et al. 2010, Modeling sample variables with an Experimental Factor Ontology. "
            "doi:10.1093/bioinformatics/btq099",
        ),
    )
}
ONTOLOGIES = {
    "GO": "Gene Ontology",
    "CL": "Cell Ontology",
    "UBERON": "UBERON",
    "MONDO": "MONDO",
    "HANCESTRO": "HANCESTRO",
    "EFO": "EFO",
}
WHAT = {
    "genes": "ids, symbols, biotypes, places",
    "names": "aliases, previous symbols, retired ids",
    "orthologs": "orthologs",
    "summaries": "gene descriptions",
    "proteins": "protein sequences",
    "regulators": "which genes are transcription factors",
    "edges": "relations between genes",
    "sets": "gene sets",
    "features": "vectors of genes",
    "ontology": "terms, parents, synonyms",
}
RELEASE = (
    *(r"\.(\d{2,3})(?:\.chr(?:_patch_hapl_scaff)?)?\.g[tf]f3?", r"gencode\.v(M?\d+)", r"ensembl[_-]?v?(\d{2,3})"),
    *(r"\.protein\.(?:physical\.)?links(?:\.\w+)?\.v(\d+\.\d+)\.", r"^biogrid-.*-(\d+\.\d+\.\d+)\."),
)


def source_of(path: Path, kind: str, family: str, declared: dict[str, Any], version: str, sha256: str) -> Source:
    """Put together what is known of a file: what the user declared, then the family it is of, then its name.

    Examples
    --------
    >>> source_of(Path("x.txt"), "names", "HGNC", {"version": "2024-10-01"}, "", "").licence
    'CC0-1.0'
    """
    known = OFFICIAL.get(family, Source(path.name)).to_dict()
    known["what"] = WHAT[kind]
    known["version"] = version or known["version"] or version_in(path)
    known |= {key: str(declared[key]) for key in known if key in declared and key not in {"file", "sha256"}}
    return Source.from_dict(known | {"file": path.name, "sha256": sha256})


def version_in(path: Path) -> str:
    """Find the release in the name of a file, "" if none stands there.

    Examples
    --------
    >>> version_in(Path("Homo_sapiens.GRCh38.109.gtf.gz")), version_in(Path("gencode.v44.annotation.gtf.gz"))
    ('109', '44')
    """
    found = (re.search(pattern, path.name, re.IGNORECASE) for pattern in RELEASE)
    return next((match.group(1) for match in found if match), "")
