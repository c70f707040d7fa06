"""Language models on this machine, each as a reader: a batch of texts in, a vector of each out.

Axes: B texts, T tokens, D width of the language model.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cartogene.errors import ConfigError, FileError, WeightsError
from cartogene.extras import need
from cartogene.runtime import Runtime

Floats = NDArray[np.float32]
UNUSED = ("pooler.", "contact_head.")  # parts of a model through which nothing that we read passes
DESCRIPTIONS = "vectors of descriptions"
PROTEINS = "vectors of proteins"


class Reader(Protocol):
    """A language model that makes one vector of each text."""

    name: str
    weights: str  # fingerprint of weights and tokens

    def __call__(self, texts: list[str]) -> Floats:
        """Return a vector per text."""
        ...


class Residues:
    """An ESM model: the mean of one hidden layer over the residues of a protein."""

    def __init__(self, model: str | Path, layer: int | None, runtime: Runtime):
        self.name = _called(model)
        self.net, self.tokenizer = _loaded(model, PROTEINS, only="esm")
        depth = int(self.net.config.num_hidden_layers)
        self.layer = depth if layer is None else layer
        if not 0 <= self.layer <= depth:
            raise ConfigError(f"layer: found {layer}, expected 0 to {depth}, the layers of {self.name}")
        vocabulary = self.tokenizer.get_vocab()
        self.number = {token: n for token, n in vocabulary.items() if len(token) == 1 and token.isalpha()}
        self.letters = frozenset(self.number)
        self.weights = _fingerprint(self.net, vocabulary)
        self.runtime, self.device = runtime, runtime.torch_device()
        self.net.to(self.device)

    def __call__(self, texts: list[str]) -> Floats:
        """Return a vector per text."""
        import torch

        first, last, pad = (getattr(self.tokenizer, f"{what}_token_id") for what in ("cls", "eos", "pad"))
        longest = max(map(len, texts)) + 2
        tokens = np.full((len(texts), longest), pad, np.int64)  # (B, T)
        residue = np.zeros((len(texts), longest), bool)
        for row, text in enumerate(texts):
            tokens[row, : len(text) + 2] = [first, *(self.number[letter] for letter in text), last]
            residue[row, 1 : len(text) + 1] = True
        ids = torch.from_numpy(tokens).to(self.device)
        is_last = self.layer == self.net.config.num_hidden_layers
        with torch.inference_mode(), self.runtime.autocast():
            found = self.net(input_ids=ids, attention_mask=(ids != pad).long(), output_hidden_states=not is_last)
        states = found.last_hidden_state if is_last else found.hidden_states[self.layer]  # (B, T, D)
        return _mean(states, torch.from_numpy(residue).to(self.device))


class Words:
    """Any encoder of ``transformers``: the mean of its last layer over all tokens of a text."""

    def __init__(self, model: str | Path, max_length: int | None, runtime: Runtime):
        self.name = _called(model)
        self.net, self.tokenizer = _loaded(model, DESCRIPTIONS)
        config = self.net.config
        places = int(getattr(config, "max_position_embeddings", 512))
        places -= 2 if "roberta" in config.model_type else 0  # its places count from 2
        self.max_length = _length(max_length, min(places, int(self.tokenizer.model_max_length)))
        self.weights = _fingerprint(self.net, self.tokenizer.get_vocab())
        self.runtime, self.device = runtime, runtime.torch_device()
        self.net.to(self.device)

    def __call__(self, texts: list[str]) -> Floats:
        """Return a vector per text."""
        import torch

        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode(), self.runtime.autocast():
            states = self.net(**batch).last_hidden_state  # (B, T, D)
        return _mean(states, batch["attention_mask"].bool())


class Sentences:
    """A model of ``sentence-transformers``, used as it was made."""

    def __init__(self, model: str | Path, max_length: int | None, runtime: Runtime):
        package = need("sentence_transformers", extra="language", purpose=DESCRIPTIONS)
        self.name, self.runtime = _called(model), runtime
        try:
            self.net = package.SentenceTransformer(
                str(model), device=str(runtime.torch_device()), local_files_only=True
            ).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise FileError(_missing(model, error)) from error
        self.max_length = _length(max_length, int(self.net.max_seq_length or 512))
        self.net.max_seq_length = self.max_length
        self.weights = _fingerprint(self.net, self.net.tokenizer.get_vocab())

    def __call__(self, texts: list[str]) -> Floats:
        """Return a vector per text."""
        with self.runtime.autocast():
            vectors = self.net.encode(
                texts, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True, precision="float32"
            )
        return np.asarray(vectors, np.float32)


def made_for_sentences(model: str | Path) -> bool:
    """Say whether a model, in a folder or in the cache, is one of ``sentence-transformers``."""
    if Path(model).is_dir():
        return (Path(model) / "modules.json").is_file()
    hub = need("transformers.utils.hub", extra="language", purpose=DESCRIPTIONS)
    try:
        return hub.cached_file(str(model), "modules.json", local_files_only=True) is not None
    except (OSError, ValueError):
        return False


def _loaded(model: str | Path, purpose: str, *, only: str = "") -> tuple[Any, Any]:
    """Load a model and its tokenizer, and see that no weight that matters was missing."""
    package = need("transformers", extra="language", purpose=purpose)
    place, local = str(model), {"local_files_only": True}
    try:
        kind = package.AutoConfig.from_pretrained(place, **local).model_type
        if only and kind != only:
            raise ConfigError(f"{model}: found a model of the type {kind!r}, expected {only!r}; choose another model")
        with _quiet(package.utils.logging):
            tokenizer = package.AutoTokenizer.from_pretrained(place, **local)
            net, told = package.AutoModel.from_pretrained(place, output_loading_info=True, **local)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileError(_missing(model, error)) from error
    if absent := sorted(key for key in told["missing_keys"] if not str(key).startswith(UNUSED)):
        raise WeightsError(
            f"{model}: found no weights {absent[0]} (and {len(absent) - 1} more) that the model's configuration asks "
            "for; fetch the model again"
        )
    return net.float().eval(), tokenizer


@contextlib.contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep ``transformers`` from reporting what it loads: what is wrong with it, we say ourselves."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _missing(model: str | Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{model}: found no model that can be read, in a folder or in the cache ({reason}); where there is a network "
        f"do hf download {model} --local-dir FOLDER, and give the folder"
    )


def _called(model: str | Path) -> str:
    """Name of a model: that of its folder, or of its repository."""
    return Path(model).resolve().name if Path(model).is_dir() else str(model)


def _length(asked: int | None, most: int) -> int:
    if asked is not None and not 1 <= asked <= most:
        raise ConfigError(f"max_length: found {asked}, expected 1 to {most}, which the model takes")
    return asked or most


def _mean(states: Any, where: Any) -> Floats:
    """Mean of the states (B, T, D) over the tokens that `where` (B, T) marks."""
    weight = where[..., None].float()
    mean: Floats = ((states.float() * weight).sum(1) / weight.sum(1)).cpu().numpy()
    return mean


def _fingerprint(net: Any, vocabulary: dict[str, int]) -> str:
    """Sixteen letters that tell one model from another: of its weights and tokens."""
    import torch

    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode())
    state: Iterable[tuple[str, Any]] = sorted(net.state_dict().items())
    for name, tensor in state:
        if not name.startswith(UNUSED):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
