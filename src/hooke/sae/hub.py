"""Hub: files from a model hub through `huggingface_hub` and its cache, each checked against the digest that the hub promised."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hooke.errors import BadConfig, DigestMismatch, HookeError, Missing, UnknownName
from hooke.files import promised_digest, write_error
from hooke.network import require_host

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_PLAIN = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?")
# What one copies from a browser: .../tree/main/folder, .../blob/main/file, .../resolve/main/file.
_PAGE = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:/(?:tree|blob|resolve)/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?/?")
_HUB_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}


@dataclass(frozen=True)
class HubPath:
    """A file or folder in a repository on the hub."""

    repo: str
    """``org/name``."""
    path: str = ""
    """The file or folder; empty is everything."""
    revision: str = "main"
    """Branch, tag or commit."""
    member: str = ""
    """One of several SAEs in the folder, or one share of a set; empty is all."""

    @classmethod
    def parse(cls, text: str) -> "HubPath | None":
        """What `text` names: ``org/name[@revision]/path``, the same behind ``hf://``, or a page of the hub; None if it is none of these.

        >>> HubPath.parse("hf://org/name@v1/some/folder")
        HubPath(repo='org/name', path='some/folder', revision='v1', member='')
        """
        bare, _, query = text.partition("?revision=")
        if "://" in bare and not bare.startswith("hf://"):
            from huggingface_hub import constants

            url = urlsplit(bare)
            hosts = _HUB_HOSTS | {urlsplit(constants.ENDPOINT).netloc}
            found = _PAGE.fullmatch(url.path.strip("/")) if url.netloc in hosts else None
        else:
            found = _PLAIN.fullmatch(bare.removeprefix("hf://"))
        if found is None:
            return None
        path = (found["path"] or "").strip("/")
        if any(part in ("", ".", "..") for part in path.split("/") if path) or "\\" in path:
            raise BadConfig(f"cannot read {text!r} as a place on the hub: its path {path!r} leads elsewhere.")
        return cls(found["repo"], path, unquote(found["revision"] or query or "main"))

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repo}{revision}" + (f"/{self.path}" if self.path else "") + (f"#{self.member}" if self.member else "")


def offline() -> bool:
    """Whether the hub is switched off (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def cache_folder() -> Path:
    """Where the hub's client keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _commit(where: HubPath) -> tuple[Path, str]:
    """The repository's folder in the cache, and the commit that its revision was when it was last asked for (empty: never)."""
    root = cache_folder() / f"models--{where.repo.replace('/', '--')}"
    ref = root / "refs" / where.revision
    commit = ref.read_text().strip() if ref.is_file() else where.revision
    return root, commit if re.fullmatch(r"[0-9a-f]{40}", commit) else ""


def snapshot(where: HubPath) -> Path | None:
    """The folder with what was fetched of a repository at a revision; None where nothing was. Opens no connection."""
    root, commit = _commit(where)
    folder = root / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def cached(where: HubPath, file: str) -> Path | None:
    """The fetched copy of `file`; None where there is none. Opens no connection."""
    folder = snapshot(where)
    return folder / file if folder is not None and (folder / file).is_file() else None


def known_absent(where: HubPath, file: str) -> bool:
    """Whether the hub has already said that there is no such `file`. Opens no connection."""
    root, commit = _commit(where)
    return bool(commit) and (root / ".no_exist" / commit / file).is_file()


def listing(where: HubPath) -> dict[str, int]:
    """Name and size in bytes of every file in the folder at `where`, seen from the repository's root."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.hf_api import RepoFile

    require_host(constants.ENDPOINT, str(where))
    with translated(where, f"the folder {where.path or '/'}"):
        entries = HfApi().list_repo_tree(where.repo, where.path or None, recursive=True, revision=where.revision)
        return {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}


def fetch(where: HubPath, file: str) -> Path:
    """The copy in the cache of `file` in the repository, fetched if the hub has a newer one; its digest is checked once, when it comes.

    Raises `Missing` where the hub does not give it (the message says why), `DigestMismatch` where the bytes are not what it promised.
    """
    from huggingface_hub import constants, hf_hub_download

    before = cached(where, file)
    if before is None:
        require_host(constants.ENDPOINT, f"{file} of {where.repo}")
    with translated(where, file):
        path = Path(hf_hub_download(where.repo, file, revision=where.revision))
    if path != before:
        _check_digest(path, where, file)
    return path


def _check_digest(path: Path, where: HubPath, file: str) -> None:
    """The cache keeps a file under the digest the hub gave. A damaged copy is removed."""
    blob = path.resolve()
    if said := promised_digest(blob):
        path.unlink()
        blob.unlink(missing_ok=True)
        raise DigestMismatch(f"{where.repo}: {file} arrived damaged: {said}. Fetch it again.")


@contextlib.contextmanager
def translated(where: HubPath, what: str) -> Iterator[None]:
    """The client's errors as ours, each with what to do."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    try:
        yield
    except errors.GatedRepoError as error:
        raise Missing(
            f"{where.repo} is gated: the hub gives {what} only to those who accepted its terms. Accept them at {hub}/{where.repo}, then "
            "set HF_TOKEN (or run `hf auth login`)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownName(f"{where.repo} has no revision {where.revision!r} on {hub}.") from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownName(f"there is no repository {where.repo} on {hub}, or it is private (then set HF_TOKEN).") from error
    except errors.LocalEntryNotFoundError as error:
        if offline():
            raise Missing(f"the hub is switched off (HF_HUB_OFFLINE), and {what} of {where.repo} is not in {cache_folder()}.") from error
        raise Missing(f"cannot reach {hub} for {what} of {where.repo}, and it is not in {cache_folder()}: {_cause(error)}.") from error
    except errors.EntryNotFoundError as error:
        raise UnknownName(f"{where.repo} has no {what} at revision {where.revision!r} ({hub}).") from error
    except errors.OfflineModeIsEnabled as error:
        raise Missing(f"the hub is switched off (HF_HUB_OFFLINE), and {what} of {where.repo} is not in {cache_folder()}.") from error
    except errors.HFValidationError as error:
        raise BadConfig(f"{where.repo!r} cannot be a repository's name: {error}.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise Missing(f"{hub} answered {status} for {what} of {where.repo}. {_cause(error)}.") from error
    except OSError as error:
        if "Consistency check failed" in str(error):
            raise DigestMismatch(f"{where.repo}: {what} arrived damaged: {_cause(error)}. Fetch it again.") from error
        if error.errno is None:  # a connection's, not a disk's
            raise Missing(f"cannot reach {hub} for {what} of {where.repo}: {_cause(error)}.") from error
        raise write_error(error, cache_folder()) from error
    except HookeError:
        raise
    except errors.HTTPError as error:  # pyright: ignore[reportPrivateImportUsage]  # httpx's, whose name differs between its versions
        raise Missing(f"cannot reach {hub} for {what} of {where.repo}: {_cause(error)}.") from error


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
