"""Vectors of proteins and of descriptions from language models that lie on this machine.

Nothing is ever fetched: a model is a folder, or the name of one that is in the cache of ``transformers`` already. Long
work can be interrupted: finished parts are kept beside the result, and taken up again.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cartogene import provenance
from cartogene.errors import ConfigError, FileError
from cartogene.knowledge.features import write_rows
from cartogene.language.models import Reader, Residues, Sentences, Words, made_for_sentences
from cartogene.runtime import DEFAULT, Runtime
from cartogene.writing import whole

Floats = NDArray[np.float32]
Advance = Callable[[int], None]
LETTERS_PER_TOKEN = 4  # of a description, about
PER_PART = 512  # texts kept in one file while the work goes on


@dataclass(frozen=True, eq=False)
class Embedded:
    """A vector per name; unpacks into names and values.

    Parameters
    ----------
    names
        As they were given, those that were left out missing.
    values
        Shape (names, width), float32.
    kind
        What the vectors are, in words.
    provenance
        Model, settings, versions; ``left_out`` counts what could not be read.
    """

    names: tuple[str, ...]
    values: Floats
    kind: str
    provenance: dict[str, Any]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.names, self.values))

    def write(self, path: str | Path) -> Path:
        """Write a file that `cartogene.knowledge.features.read` reads, whole or not at all."""
        return write_rows(path, self.values, self.names, kind=self.kind, provenance=self.provenance)


def embed_proteins(
    sequences: Mapping[str, str],
    model: str | Path,
    *,
    layer: int | None = None,
    max_length: int = 1022,
    long: Literal["cut", "windows"] = "cut",
    tokens: int = 8192,
    runtime: Runtime = DEFAULT,
    out: str | Path | None = None,
    advance: Advance = lambda _: None,
) -> Embedded:
    """Embed proteins by ESM2: the mean over the residues of a hidden layer, start and end tokens left out.

    Parameters
    ----------
    sequences
        Amino acids in one-letter code, by name. A ``*`` at the end is passed over; proteins with letters that the
        model does not know (a stop inside) are left out.
    model
        Folder of an ESM model of ``transformers``, or its name in the cache (``facebook/esm2_t33_650M_UR50D``).
    layer
        Hidden layer, 0 being what enters the first one; the last if not given. The last is normalised, as in ESM.
    max_length
        Residues the model is shown at once.
    long
        What becomes of longer proteins: ``"cut"`` after `max_length`, as the authors of ESM do; or ``"windows"`` that
        follow each other, each residue counting once.
    tokens
        Tokens per batch, padding included.
    runtime
        Device and precision. In float32 results do not depend on `tokens` beyond rounding.
    out
        Where the result is written (see `Embedded.write`). Parts that are done lie in ``<out>.parts`` until then; the
        same call after an interruption goes on from them.
    advance
        Is told how many texts are done after each batch; texts that are the same count once.

    Raises
    ------
    FileError
        If there is no such model on this machine, or the parts that lie there are of another work.
    ConfigError
        If a setting is out of range, or no sequence can be read.
    ExtraError
        If ``transformers`` is not installed.

    References
    ----------
    Lin et al. (2023). Evolutionary-scale prediction of atomic-level protein structure. Science 379, 1123-1130.
    """
    if max_length < 1 or long not in {"cut", "windows"}:
        raise ConfigError(f"max_length, long: found {max_length}, {long!r}, expected at least 1, 'cut' or 'windows'")
    reader = Residues(model, layer, runtime)
    cleaned = {name: text.strip().upper().removesuffix("*") for name, text in sequences.items()}
    readable = {name: text for name, text in cleaned.items() if text and set(text) <= reader.letters}
    longest = max_length if long == "cut" else 10**9
    pieces = {name: _windows(text[:longest], max_length) for name, text in readable.items()}
    facts = {
        "layer": reader.layer,
        "max_length": max_length,
        "long": long,
        "longer": sum(len(text) > max_length for text in readable.values()),
        **_left_out(sequences, readable),
    }
    kind = f"{reader.name}, layer {reader.layer}, mean over residues"
    return _embed(reader, pieces, _Work(kind, facts, tokens, runtime, out, advance))


def embed_texts(
    texts: Mapping[str, str],
    model: str | Path,
    *,
    max_length: int | None = None,
    tokens: int = 8192,
    runtime: Runtime = DEFAULT,
    out: str | Path | None = None,
    advance: Advance = lambda _: None,
) -> Embedded:
    """Embed descriptions: by a sentence-transformers model as it was made, by any other as the mean of its last layer.

    The mean is over all tokens of the text, those that begin and end it included, as is customary (BioBERT, BERT).

    Parameters
    ----------
    texts
        By name; empty ones are left out.
    model
        Folder of a model of ``sentence-transformers`` (it holds a ``modules.json``) or ``transformers``, or the name of
        one in the cache (``dmis-lab/biobert-base-cased-v1.1``).
    max_length
        Tokens after which a text is cut; as many as the model takes if not given.
    tokens, runtime, out, advance
        As in `embed_proteins`.

    Raises
    ------
    FileError
        If there is no such model on this machine, or the parts that lie there are of another work.
    ConfigError
        If no text is left.
    ExtraError
        If ``transformers`` or ``sentence-transformers`` is not installed.
    """
    whole_sentences = made_for_sentences(model)
    reader = (Sentences if whole_sentences else Words)(model, max_length, runtime)
    readable = {name: text.strip() for name, text in texts.items() if text.strip()}
    facts = {"max_length": reader.max_length, **_left_out(texts, readable)}
    pooled = "as a sentence" if whole_sentences else "last layer, mean over tokens"
    work = _Work(f"{reader.name}, {pooled}", facts, tokens * LETTERS_PER_TOKEN, runtime, out, advance)
    return _embed(reader, {name: [text] for name, text in readable.items()}, work)


@dataclass(frozen=True, eq=False)
class _Work:
    kind: str
    facts: dict[str, Any]
    tokens: int
    runtime: Runtime
    out: str | Path | None
    advance: Advance


def _left_out(given: Mapping[str, str], readable: Mapping[str, str]) -> dict[str, Any]:
    lost = [name for name in given if name not in readable]
    if not readable:
        raise ConfigError(
            f"texts: found {len(given)}, none of which the model can read; check the table they come from"
        )
    return {"left_out": len(lost), "left_out_such_as": lost[:5]}


def _windows(text: str, length: int) -> list[str]:
    """Cut a text into pieces of at most `length`."""
    return [text[start : start + length] for start in range(0, len(text), length)]


def _embed(reader: Reader, pieces: Mapping[str, list[str]], work: _Work) -> Embedded:
    """Embed every different piece once, and average the pieces of each text by their length."""
    if work.tokens < 1:
        raise ConfigError(f"tokens: found {work.tokens}, expected at least 1")
    different = sorted(
        {piece for several in pieces.values() for piece in several}, key=lambda piece: (-len(piece), piece)
    )
    vectors = _vectors(reader, different, work)
    row = {piece: number for number, piece in enumerate(different)}
    values = np.empty((len(pieces), vectors.shape[1]), np.float32)
    for number, several in enumerate(pieces.values()):
        rows, weight = [row[piece] for piece in several], [len(piece) for piece in several]
        values[number] = vectors[rows[0]] if len(rows) == 1 else np.average(vectors[rows], 0, weight)
    record = provenance.record(**work.runtime.describe())
    facts = {"model": reader.name, "weights": reader.weights, **work.facts, "made": record}
    found = Embedded(tuple(pieces), values, work.kind, facts)
    if work.out is not None:
        found.write(work.out)
        shutil.rmtree(_parts(work.out), ignore_errors=True)
    return found


def _parts(out: str | Path) -> Path:
    return Path(out).with_name(f"{Path(out).name}.parts")


def _vectors(reader: Reader, texts: list[str], work: _Work) -> Floats:
    """Embed texts, longest first, part by part; those that lie there already are read."""
    folder = _parts(work.out) if work.out is not None else None
    if folder is not None:
        _take_up(folder, reader, texts, work)
    found = []
    for start in range(0, len(texts), PER_PART):
        part = texts[start : start + PER_PART]
        path = folder / f"{start // PER_PART:06d}.safetensors" if folder is not None else None
        vectors = _read_part(path, len(part)) if path is not None else None
        if vectors is None:
            vectors = np.concatenate([_told(reader(batch), work.advance) for batch in _batches(part, work.tokens)])
            if path is not None:
                with whole(path) as unfinished:
                    save_file({"vectors": vectors}, unfinished)
        else:
            work.advance(len(part))
        found.append(vectors)
    return np.concatenate(found)


def _told(vectors: Floats, advance: Advance) -> Floats:
    advance(len(vectors))
    return vectors


def _batches(texts: list[str], tokens: int) -> Iterator[list[str]]:
    """Cut texts, longest first, into batches of about `tokens` letters, padding included."""
    start = 0
    while start < len(texts):
        size = max(1, tokens // (len(texts[start]) + 2))
        yield texts[start : start + size]
        start += size


def _read_part(path: Path, n_texts: int) -> Floats | None:
    """Return the vectors of a part, None if it is not there or broken."""
    try:
        vectors: Floats = load_file(path)["vectors"]
    except (OSError, SafetensorError, KeyError):
        return None
    return vectors if len(vectors) == n_texts else None


def _take_up(folder: Path, reader: Reader, texts: Sequence[str], work: _Work) -> None:
    """Make the folder of the parts, or refuse the one that is there if it is of another model, setting or input."""
    settings = {"kind": work.kind, "precision": work.runtime.precision, "max_length": work.facts["max_length"]}
    ours = {
        "model": reader.name,
        "weights": reader.weights,
        "settings": json.dumps(settings),
        "inputs": hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest(),
    }
    place = folder / "parts.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        theirs = dict(json.loads(place.read_text())) if place.exists() else ours
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{folder}: cannot be used ({error}); delete it, or choose another place") from error
    if differ := [key for key in ours if theirs.get(key) != ours[key]]:
        raise FileError(
            f"{folder}: found parts of a work with other {', '.join(differ)} ({theirs.get(differ[0])}), expected "
            f"{ours[differ[0]]}; delete the folder, or choose another place for the result"
        )
    with whole(place) as unfinished:
        unfinished.write_text(json.dumps(ours))
