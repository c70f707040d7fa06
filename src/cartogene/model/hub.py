"""Checkpoints on Hugging Face: ``hf://owner/repository/file``, fetched once and kept in its local cache."""

from pathlib import Path

from cartogene.errors import FileError
from cartogene.extras import need

SCHEME = "hf://"


def local(place: str) -> Path:
    """Return where a file of a repository lies on this computer; what is in the cache is taken from there.

    Parameters
    ----------
    place
        ``hf://owner/repository/file``; the file may lie in folders.

    Raises
    ------
    ExtraError
        If the client of Hugging Face is not installed.
    FileError
        If the text names no file, or it is not in the cache and cannot be fetched.
    """
    owner, _, rest = place.removeprefix(SCHEME).partition("/")
    name, _, file = rest.partition("/")
    if not (place.startswith(SCHEME) and owner and name and file):
        raise FileError(f"{place}: expected hf://owner/repository/file, such as hf://jkobject/scPRINT/medium.ckpt")
    client = need("huggingface_hub", extra="hub", purpose=f"fetching {place}")
    repository = f"{owner}/{name}"
    try:
        return Path(client.hf_hub_download(repository, file, local_files_only=True))
    except Exception:  # noqa: BLE001  not in the cache, whatever the client calls that
        return _fetched(client, repository, file, place)


def _fetched(client: object, repository: str, file: str, place: str) -> Path:
    try:
        return Path(client.hf_hub_download(repository, file))  # type: ignore[attr-defined]
    except Exception as error:  # no network, no such file, no permission: the client has an error for each
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FileError(
            f"{place}: is not in the local cache and cannot be fetched ({reason}); check the name and the connection, "
            f"or download {file} from https://huggingface.co/{repository} elsewhere and give its path"
        ) from error
