"""The Hugging Face hub, and its cache on this disk. The only importer of huggingface_hub.

HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE work as in huggingface_hub. The only token used is HF_TOKEN.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Self

from vbench.schema.errors import HubFailed, Refused
from vbench.schema.record import atomic

TIMEOUT_S = 10.0
SHA256_DIGITS = 64  # of a large file's etag; a small one has git's shorter hash


@dataclass(frozen=True)
class File:
    """One file of a repository."""

    name: str
    size: int  # bytes
    etag: str  # the name of its content in the cache; for large files this is their SHA-256


@dataclass(frozen=True)
class Repository:
    """One commit of a repository: that of its main branch, or of a revision."""

    hub_id: str
    commit: str
    files: tuple[File, ...]


def find_cache() -> Path:
    """The folder of the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests to the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def find_snapshot(hub_id: str) -> Path | None:
    """The cached snapshot folder of the repository's main branch; None if nothing is cached."""
    try:
        commit = (_find_folder(hub_id) / "refs" / "main").read_text().strip()
    except FileNotFoundError:
        return None
    folder = _find_folder(hub_id) / "snapshots" / commit
    return folder if folder.is_dir() else None


def read_texts(hub_id: str, names: Iterable[str], revision: str | None = None) -> dict[str, str]:
    """The content of these small files of a repository, as far as it has them; from the cache if the hub is away.

    Raises Refused if there is no such repository or revision, or if we may not read it; else HubFailed.
    """
    with _translate_errors(hub_id):
        texts = {name: _read_text(hub_id, name, revision) for name in names}
    return {name: text for name, text in texts.items() if text is not None}


def _read_text(hub_id: str, name: str, revision: str | None) -> str | None:
    from huggingface_hub import errors, hf_hub_download

    try:
        path = hf_hub_download(hub_id, name, revision=revision, token=_read_token())
    except errors.LocalEntryNotFoundError as error:
        why = f"the hub cannot be reached, and {name} is not in {find_cache()}"
        raise HubFailed(f"model.hub_id={hub_id}: {why}") from error
    except errors.RevisionNotFoundError as error:
        raise Refused(f"model.hub_id={hub_id}: it has no revision {revision}") from error
    except errors.EntryNotFoundError:
        return None
    return Path(path).read_text(encoding="utf-8")


def count_tensor_bytes(hub_id: str, revision: str | None = None) -> int | None:
    """Bytes of all tensors of a repository with one safetensors file, from its header; None if it cannot be told."""
    from huggingface_hub import HfApi, errors

    network: Any = errors.HTTPError  # type: ignore[attr-defined]
    try:
        api = HfApi(token=_read_token())
        header = api.parse_safetensors_file_metadata(hub_id, "model.safetensors", revision=revision)
    except (errors.HfHubHTTPError, errors.SafetensorsParsingError, errors.OfflineModeIsEnabled, network, OSError):
        return None
    return sum(tensor.data_offsets[1] - tensor.data_offsets[0] for tensor in header.tensors.values())


def look_up(hub_id: str, revision: str | None = None) -> Repository:
    """Asks the hub for a repository. Raises Refused if it does not exist or we may not read it; else HubFailed."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    with _translate_errors(hub_id):
        api = HfApi(token=_read_token())
        found = api.model_info(hub_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        files = tuple(
            File(each.rfilename, each.size or 0, (each.lfs and each.lfs.sha256) or each.blob_id or "")
            for each in found.siblings or ()
        )
        if files:  # the list of a gated repository is open to all, its files are not
            one = min(files, key=lambda file: file.name != "config.json")
            url = hf_hub_url(hub_id, one.name, revision=found.sha)
            get_hf_file_metadata(url, token=_read_token(), timeout=TIMEOUT_S)
    return Repository(hub_id, str(found.sha), files)


def count_cached_bytes(repository: Repository, file: File) -> int:
    """How many bytes of the file are in the cache."""
    blob = _find_blob(repository, file)
    for path in (blob, _name_partial(blob)):
        if path.exists():
            return min(path.stat().st_size, file.size)
    return 0


def download(repository: Repository, file: File, advance: Callable[[int], None]) -> None:
    """Downloads a file into the cache, resuming an earlier attempt; `advance` is called with the number of new bytes.

    `snapshot_download` of huggingface_hub 2.4 does not resume across processes: killed after 25 MB of a file of 40 MB,
    its next run asked for all 40 MB and left the first 21 MB behind. So the bytes go to a partial file of ours, which
    stays after a break, and huggingface_hub then finds the file complete. Above MAX_HTTP_DOWNLOAD_SIZE (50 GB) it does
    all by itself.

    Raises HubFailed if the connection or the disk fails.
    """
    from huggingface_hub import constants, hf_hub_download

    with _translate_errors(repository.hub_id):
        blob = _find_blob(repository, file)
        if not blob.exists() and file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE:
            _download(repository, file, blob, advance)
        hf_hub_download(repository.hub_id, file.name, revision=repository.commit, token=_read_token())


def set_main_commit(repository: Repository) -> None:
    """Makes this commit the cache's main branch: a server then loads it by hub id without asking the hub."""
    reference = _find_folder(repository.hub_id) / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    with atomic(reference) as partial:
        partial.write_text(repository.commit)


def _download(repository: Repository, file: File, blob: Path, advance: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented there

    blob.parent.mkdir(parents=True, exist_ok=True)
    with _name_partial(blob).open("ab") as out:
        fcntl.flock(out, fcntl.LOCK_EX)  # wait for another process that downloads the same content
        if blob.exists():  # and nothing is left to do; what we opened may be new and empty
            _name_partial(blob).unlink(missing_ok=True)
            return
        had = out.seek(0, os.SEEK_END)  # read after the wait, which may have changed it
        http_get(
            hf_hub_url(repository.hub_id, file.name, revision=repository.commit),
            out,
            resume_size=had,
            headers=build_hf_headers(token=_read_token()),
            expected_size=file.size,
            tqdm_class=_make_progress_class(advance),
        )
        out.flush()
        if had and len(file.etag) == SHA256_DIGITS and _hash(_name_partial(blob)) != file.etag:
            out.truncate(0)
            raise HubFailed(f"{file.name}: its partial download is damaged and is deleted")
        _name_partial(blob).replace(blob)


def _make_progress_class(advance: Callable[[int], None]) -> Any:
    """The progress bar class that http_get expects, with tqdm's interface."""

    class Bar:
        def __init__(self, **_: object) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, count: int) -> None:
            advance(count)

    return Bar


@contextmanager
def _translate_errors(hub_id: str) -> Iterator[None]:
    """Turns errors of huggingface_hub inside the block into Refused or HubFailed with one clear line."""
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it warns of each retry, with the file's address
    network: Any = errors.HTTPError  # type: ignore[attr-defined]  # its HTTP library's, whichever that is
    key, hub = f"model.hub_id={hub_id}", constants.ENDPOINT
    export = "export HF_TOKEN=… of an account that may read it"
    try:
        yield
    except errors.HFValidationError as error:
        raise Refused(f"{key}: neither a hub id (OWNER/NAME) nor a folder here") from error
    except errors.GatedRepoError as error:
        raise Refused(f"{key}: gated; accept its terms at {hub}/{hub_id}, then {export}") from error
    except errors.RepositoryNotFoundError as error:
        raise Refused(f"{key}: not on {hub}, or private; check the name, or {export}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status not in (401, 403):
            raise HubFailed(f"{key}: {hub} answers HTTP {status}") from error
        why = "does not accept HF_TOKEN" if _read_token() else "asks for a token"
        raise Refused(f"{key}: {hub} {why} (HTTP {status}); {export}") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubFailed(f"{key}: HF_HUB_OFFLINE is set, so the hub is not asked") from error
    except network as error:
        why = str(error) or type(error).__name__
        raise HubFailed(
            f"{key}: {hub} cannot be reached ({why}); check the network, the proxy and HF_ENDPOINT"
        ) from error
    except OSError as error:
        raise HubFailed(f"{key}: {str(error).splitlines()[0]}") from error


def _read_token() -> str | bool:
    return os.environ.get("HF_TOKEN") or False  # False: not what an earlier login has left on disk


def _find_folder(hub_id: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return find_cache() / str(repo_folder_name(repo_id=hub_id, repo_type="model"))


def _find_blob(repository: Repository, file: File) -> Path:
    return _find_folder(repository.hub_id) / "blobs" / file.etag


def _name_partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.vbench.incomplete")


def _hash(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
