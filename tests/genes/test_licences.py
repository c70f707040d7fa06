"""What ships is made of openly licensed data alone."""

import json
from importlib import resources

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from cartogene.genes.table import METADATA_KEY, OPEN_LICENCES

OURS = "BSD-3-Clause"  # of the package and its weights; never of data that went into them
INDEX = sorted((resources.files("cartogene.genes") / "data").iterdir(), key=str)
WEIGHTS = sorted(path for path in (resources.files("cartogene") / "weights").iterdir() if path.suffix == ".safetensors")


def licences(value, path=()):
    """Every licence that stands anywhere in a card or metadata: (where, what)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.lower() in {"licence", "license", "licences", "licenses"}:
                for text in inner if isinstance(inner, list) else [inner]:
                    yield (*path, key), str(text)
            else:
                yield from licences(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from licences(inner, (*path, i))


def closed(value, *, own=()):
    """Licences that are not open; `own` are the places that speak of our own work."""
    return [
        (where, text)
        for where, text in licences(value)
        if text not in OPEN_LICENCES and not (where in own and text == OURS)
    ]


def facts(path):
    return json.loads(pq.read_schema(path).metadata[METADATA_KEY])


def card(path):
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["cartogene"])["card"]


OWN = (("licence",), ("recipe", "licence"))


@pytest.mark.parametrize("path", INDEX, ids=lambda path: path.name)
def test_every_source_of_the_index_is_open(path):
    assert closed(facts(path)) == []
    assert len(list(licences(facts(path)))) == len(facts(path)["sources"]) > 0


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.name)
def test_every_source_of_shipped_weights_is_open(path):
    assert card(path)["licence"] == OURS
    assert closed(card(path), own=OWN) == []
    assert len(list(licences(card(path)["sources"]))) == len(card(path)["sources"]) > 0


@pytest.mark.parametrize("text", ["GPL-3.0", "CC-BY-NC-4.0", "academic use", "not stated", ""])
def test_another_licence_is_noticed_wherever_it_stands(text):
    value = card(WEIGHTS[0])
    value["training"]["data"] = [{"name": "new", "licence": text}]
    assert closed(value, own=OWN) == [(("training", "data", 0, "licence"), text)]
    value = facts(INDEX[0])
    value["sources"][0]["licence"] = text
    assert closed(value) == [(("sources", 0, "licence"), text)]


def test_our_own_licence_is_none_for_data():
    assert closed({"sources": [{"licence": OURS}]}, own=OWN)
