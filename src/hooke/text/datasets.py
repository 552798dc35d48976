"""Datasets on a Hugging Face hub: which of a repository's files are meant, fetched one by one into the hub's own cache."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hooke.errors import BadConfig, BadFile, HookeError, Missing, unknown
from hooke.network import require_host
from hooke.text.datafiles import KINDS, DataFile, kind_of

_FORM = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>refs/(?:convert|pr)/[^/@]+|[^/@]+))?(?:/(?P<inside>[^@]*))?"
)
_SPLIT = re.compile(r"(?<![a-z0-9])(train|training|test|testing|validation|valid|val|dev|eval)(?![a-z0-9])")
_TRAIN = {"train", "training"}
_CARD = "README.md"


@dataclass(frozen=True)
class DatasetRef:
    """A dataset on a hub, and perhaps a part of it."""

    repo: str
    """``org/name``."""
    revision: str | None = None
    """Branch, tag or commit; None is the main branch."""
    inside: str = ""
    """A configuration's name, or a file, folder or glob in the repository; empty is the default."""

    @classmethod
    def parse(cls, text: str) -> "DatasetRef":
        """Read ``hf://datasets/org/name[@revision][/config or path]``.

        >>> DatasetRef.parse("hf://datasets/org/name@v1.0/data/*.parquet")
        DatasetRef(repo='org/name', revision='v1.0', inside='data/*.parquet')
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise BadConfig(f"{text!r} names no dataset. Write hf://datasets/org/name, then @revision and /path if they are wanted.")
        revision = match["revision"]
        return cls(match["repo"], None if revision is None else unquote(revision), (match["inside"] or "").strip("/"))

    def __str__(self) -> str:
        return f"hf://datasets/{self.repo}" + (f"@{self.revision}" if self.revision else "") + (f"/{self.inside}" if self.inside else "")


def dataset_files(text: str) -> Iterator[DataFile]:
    """The data files of the dataset `text` names, sorted; each is fetched when it is opened, all from the commit that was met first.

    With the hub switched off (``HF_HUB_OFFLINE``), the files are those in its cache. Raises `Missing` for what is not there or not open
    to us, `BadConfig` where the dataset has several configurations and none was named.
    """
    ref = DatasetRef.parse(text)
    names, fetch = _listing(ref)
    for name in chosen(ref, names, _card(fetch(_CARD)) if _CARD in names else {}):
        yield DataFile(f"hf://datasets/{ref.repo}/{name}", lambda name=name: fetch(name).open("rb"))


def _listing(ref: DatasetRef) -> tuple[list[str], Callable[[str], Path]]:
    """Names of all files, and the function that brings one here."""
    import huggingface_hub as hub

    if hub.is_offline_mode():
        with _Translated(ref):
            folder = Path(hub.snapshot_download(ref.repo, repo_type="dataset", revision=ref.revision, local_files_only=True))
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), lambda name: folder / name
    require_host(hub.constants.ENDPOINT, f"the dataset {ref.repo!r}")
    with _Translated(ref):
        info = hub.HfApi().dataset_info(ref.repo, revision=ref.revision)
    # The first fetch goes by the revision's name, so that the cache learns which commit it stands for and works offline.
    revisions = [info.sha, ref.revision]

    def fetch(name: str) -> Path:
        with _Translated(ref):
            revision = revisions.pop() if len(revisions) > 1 else revisions[0]
            return Path(hub.hf_hub_download(ref.repo, name, repo_type="dataset", revision=revision))

    return sorted(own.rfilename for own in info.siblings or []), fetch


def _card(path: Path) -> dict[str, Any]:
    """The facts at the head of a dataset's card; none where they cannot be read."""
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(path) or {}
    except Exception:  # a card is prose first; YAML in it may be anything
        return {}


def chosen(ref: DatasetRef, names: Sequence[str], card: dict[str, Any]) -> list[str]:
    """Which of a repository's `names` `ref` means, sorted.

    1. A part that was named: a file, a folder, a glob, or a configuration of the card.
    2. Else the only configuration, or the default one, of the card; else everything, if it is not in folders beside each other.
    3. Of these the kind that comes first in `KINDS`, and of that the split ``train``, where names or card tell splits.
    """
    configs = _configs(card)
    if ref.inside in names:
        return [ref.inside]
    if ref.inside in configs:
        patterns = configs[ref.inside]
    elif ref.inside:
        patterns = [ref.inside]
    elif len(configs) > 1:
        patterns = configs.get("default") or []
        if not patterns:
            raise _ambiguous(ref, configs)
    else:
        patterns = next(iter(configs.values()), ["**"])
    data = _first_kind([name for name in names if any(_matches(pattern, name) for pattern in patterns)])
    if not data:
        raise _nothing(ref, names, configs)
    if "*" not in ref.inside:
        data = [name for name in data if _TRAIN & _splits(name)] or data
    folders = {name.partition("/")[0] for name in data if "/" in name and not _SPLIT.search(name.partition("/")[0])} - {"data"}
    if patterns == ["**"] and len(folders) > 1:
        raise _ambiguous(ref, folders)
    return sorted(data)


def _configs(card: dict[str, Any]) -> dict[str, list[str]]:
    """Configurations with the patterns of their files: of the split ``train`` where splits are told."""
    found: dict[str, list[str]] = {}
    listed = card.get("configs")
    for config in listed if isinstance(listed, list) else []:
        if not isinstance(config, dict) or not isinstance(config.get("config_name"), str):
            continue
        given, folder = config.get("data_files", []), config.get("data_dir")
        entries = given if isinstance(given, list) else [given]
        splits = [entry for entry in entries if isinstance(entry, dict)]
        trained = [entry for entry in splits if entry.get("split") in _TRAIN] or splits
        paths = [own for entry in trained for own in _listed(entry.get("path"))] + [own for own in entries if isinstance(own, str)]
        prefix = f"{folder.strip('/')}/" if isinstance(folder, str) and folder.strip("/") not in ("", ".") else ""
        name = "default" if config.get("default") is True else config["config_name"]
        found[config["config_name"]] = [prefix + path for path in paths or ["**"]]
        found.setdefault(name, found[config["config_name"]])
    return found


def _listed(value: object) -> list[str]:
    return [own for own in (value if isinstance(value, list) else [value]) if isinstance(own, str)]


def _matches(pattern: str, name: str) -> bool:
    from fsspec.utils import glob_translate

    return name.startswith(pattern.rstrip("/") + "/") or re.match(glob_translate(pattern), name) is not None


def _first_kind(names: list[str]) -> list[str]:
    for wanted in KINDS.values():
        if found := [name for name in names if kind_of(name) == wanted and not name.startswith(".")]:
            return found
    return []


def _splits(name: str) -> set[str]:
    return set(_SPLIT.findall(name.lower()))


def _ambiguous(ref: DatasetRef, names: Sequence[str] | set[str] | dict[str, list[str]]) -> BadConfig:
    shown = sorted(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return BadConfig(
        f"the dataset {ref.repo!r} has {len(shown)} configurations: {', '.join(shown[:20])}{more}."
        f" Choose one, for example {ref}/{shown[0]}."
    )


def _nothing(ref: DatasetRef, names: Sequence[str], configs: dict[str, list[str]]) -> HookeError:
    if ref.inside:
        folders = {name.partition("/")[0] for name in names if not name.startswith(".")}
        return unknown("part of the dataset " + ref.repo, ref.inside, folders | set(configs))
    return Missing(
        f"the dataset {ref.repo!r} has no data files that are read ({', '.join(KINDS)}) among its {len(names)} files. The hub may have"
        f" converted it: try hf://datasets/{ref.repo}@refs/convert/parquet."
    )


class _Translated:
    """Whatever the hub's client raises inside, as one clear sentence."""

    def __init__(self, ref: DatasetRef) -> None:
        self._ref = ref

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, HookeError):
            raise _translation(self._ref, error) from error


def _translation(ref: DatasetRef, error: Exception) -> HookeError:
    from huggingface_hub import constants, errors

    what, hub = f"the dataset {ref.repo!r}", constants.ENDPOINT
    if constants.HF_HUB_OFFLINE and isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        at = f" at {ref.revision!r}" if ref.revision else ""
        return Missing(f"{what}{at} is not in the cache, and the hub is switched off (HF_HUB_OFFLINE). Fetch it once with the hub on.")
    if isinstance(error, errors.GatedRepoError):
        return Missing(f"{what} is gated: accept its terms at {hub}/datasets/{ref.repo} and set HF_TOKEN to a token of that account.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return Missing(f"there is no dataset {ref.repo!r} on {hub}, or it is private: then set HF_TOKEN to a token that may read it.")
    if isinstance(error, errors.RevisionNotFoundError):
        return Missing(f"{what} has no revision {ref.revision!r}.")
    if isinstance(error, errors.HFValidationError):
        return BadConfig(f"{ref.repo!r} cannot be the name of a dataset: {_first_line(error)}.")
    if isinstance(error, errors.HfHubHTTPError):
        return HookeError(f"{hub} refused {what}: {_first_line(error)}")
    if isinstance(error, OSError) and error.filename is not None:
        return BadFile(f"{what} could not be stored: {error}.")
    return Missing(f"cannot reach {what} on {hub}: {_first_line(error)}. Set HF_HUB_OFFLINE=1 to read what is in the cache.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
