"""Stores: what lies behind an address (``s3://bucket/folder``), by fsspec: which package brings it, and in words what went wrong there."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hooke.errors import BadConfig, HookeError, Missing, unknown

__all__ = ["DRIVERS", "is_bucket", "open_store", "told", "tried"]

T = TypeVar("T")

DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Schemes of object stores, and the package that brings each."""

_EXTRAS = {"s3fs": "'hooke[s3]'"}
# Nothing is kept of what was listed: another machine may be writing.
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"use_listings_cache": False}}
_TRIES, _WAIT_S = 5, 0.2
# What trying again does not change.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, ImportError, ValueError, TypeError, NotImplementedError)
_FINAL_NAMES = ("NoCredentialsError", "PartialCredentialsError", "EndpointConnectionError", "ConnectTimeoutError", "ProfileNotFound")


def is_bucket(ref: str) -> bool:
    """Whether `ref` names an object in a store."""
    return "://" in ref and ref.partition("://")[0] in DRIVERS


def open_store(address: str) -> tuple[Any, str]:
    """The fsspec file system behind `address`, and its path there; opens no connection.

    Raises `Missing` where a package has to be installed first, `UnknownName` for an address of a kind that there is not.
    """
    import fsspec

    scheme = address.partition("://")[0]
    driver = DRIVERS.get(scheme)
    if driver is not None and importlib.util.find_spec(driver) is None:
        raise Missing(f"cannot reach {address}: {scheme}:// needs the package {driver}. pip install {_EXTRAS.get(driver, driver)}")
    try:
        return fsspec.core.url_to_fs(address, **_OPTIONS.get(scheme, {}))
    except ImportError as error:
        raise Missing(f"cannot reach {address}: {error}.") from error
    except ValueError as error:
        if "rotocol" not in str(error):
            raise BadConfig(f"cannot reach {address}: {error}.") from error
        raise unknown("kind of address", f"{scheme}://", (f"{known}://" for known in DRIVERS)) from error


def tried(do: Callable[[], T], doing: str, address: str) -> T:
    """What `do` gives; where the store fails it is tried again a few times, as stores do fail now and then.

    `FileNotFoundError` and `FileExistsError` are answers, and passed on; whatever else goes wrong is raised as `told` puts it.
    """
    for left in reversed(range(_TRIES)):
        try:
            return do()
        except (HookeError, FileNotFoundError, FileExistsError) as error:
            if "bucket does not exist" in str(error):
                raise told(error, doing, address) from error
            raise
        except Exception as error:  # every system behind fsspec raises errors of its own
            if not left or isinstance(error, _FINAL) or type(error).__name__ in _FINAL_NAMES:
                raise told(error, doing, address) from error
        time.sleep(_WAIT_S * 2 ** (_TRIES - 1 - left))
    raise AssertionError


def told(error: Exception, doing: str, address: str) -> HookeError:
    """`error`, met while `doing` something (``read``, ``write``) at `address`, as a sentence that says what to do."""
    name, said = type(error).__name__, (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    scheme, _, rest = address.partition("://")
    what, bucket = f"cannot {doing} {address}", rest.partition("/")[0]
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE." if scheme == "s3" else "See its fsspec driver."
        return Missing(f"{what}: no credentials for {scheme}:// ({said}). {hint}")
    if name in ("EndpointConnectionError", "ConnectTimeoutError"):
        return Missing(f"{what}: the store does not answer ({said}). Is AWS_ENDPOINT_URL right, and is there a network?")
    if "TooSkewed" in f"{said} {error.__cause__}" or "request time" in said:
        return BadConfig(f"{what}: this machine's clock is wrong ({said}). Set it, and give the same command again.")
    if isinstance(error, PermissionError):
        return BadConfig(f"{what}: the store refuses it ({said}). These credentials do not allow it in the bucket {bucket!r}.")
    if isinstance(error, FileNotFoundError):
        gone = f"there is no bucket {bucket!r}" if "bucket does not exist" in said else said
        return Missing(f"{what}: {gone}. Make it first, or correct the address.")
    if isinstance(error, ValueError) or name == "ParamValidationError":
        return BadConfig(f"{what}: {said}.")
    return HookeError(f"{what}: {name}: {said}.")
