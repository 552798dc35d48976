"""Models from a hub: what was fetched is checked against the digests that the hub promised, and what failed is said with what to do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hooke.errors import DigestMismatch, HookeError, Missing
from hooke.files import promised_digest
from hooke.model.carried import CARRIED
from hooke.network import require_host


@contextlib.contextmanager
def checked_downloads(ref: str | Path) -> Iterator[None]:
    """Check every file of the model `ref` that came into the hub's cache while inside, once; a damaged one is thrown away.

    Raises `DigestMismatch` in place of whatever the damage led to, `Missing` at once where nothing is here and the hub's name cannot be
    resolved. A folder is left alone.
    """
    from huggingface_hub import constants

    before = _blobs(ref)
    if not before and isinstance(ref, str) and not Path(ref).is_dir():
        require_host(constants.ENDPOINT, f"the model {ref!r}")
    try:
        yield
    finally:
        for blob in sorted(_blobs(ref) - before):
            if said := promised_digest(blob):
                names = [link for link in (blob.parent.parent / "snapshots").rglob("*") if link.is_symlink() and link.resolve() == blob]
                for path in (*names, blob):
                    path.unlink(missing_ok=True)
                what = ", ".join(sorted({link.name for link in names})) or "a file"
                raise DigestMismatch(f"the model {str(ref)!r}: {what} arrived damaged: {said}. Fetch it again.")


def _blobs(ref: str | Path) -> set[Path]:
    """Files of the model `ref` in the hub's cache, each named by the digest that was promised."""
    from huggingface_hub import constants

    if isinstance(ref, Path) or Path(ref).is_dir():
        return set()
    folder = Path(constants.HF_HUB_CACHE) / f"models--{ref.strip('/').replace('/', '--')}" / "blobs"
    return {path.resolve() for path in folder.iterdir() if path.suffix != ".incomplete"} if folder.is_dir() else set()


def not_found(ref: str, error: BaseException) -> HookeError:
    """What to raise where the library found no model `ref`, or was not given it."""
    from huggingface_hub import constants, errors

    causes, at = [], error
    while at is not None:
        causes.append(at)
        at = at.__cause__ or at.__context__
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        return Missing(
            f"the model {ref!r} is gated: the hub gives it only to those who accepted its terms. Accept them at {constants.ENDPOINT}/{ref},"
            " then set HF_TOKEN (or run `hf auth login`)."
        )
    first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    offline = " The hub is switched off (HF_HUB_OFFLINE)." if constants.HF_HUB_OFFLINE else ""
    return Missing(f"cannot find the model {ref!r}: {first}.{offline} Carried models: {', '.join(CARRIED)}.")
