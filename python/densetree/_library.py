"""Finds libdensetree, and turns its statuses into exceptions."""

import ctypes
import os
import pathlib
from typing import Any

from densetree import _c


class Error(RuntimeError):
    """What the library says went wrong; `code` is one of densetree.h's."""

    code: int = _c.FAILED


class InvalidArgument(Error, ValueError):
    code = _c.INVALID_ARGUMENT


class Unavailable(Error):
    """This build or machine does not have it."""

    code = _c.UNAVAILABLE


class OutOfMemory(Error, MemoryError):
    code = _c.OUT_OF_MEMORY


class Cancelled(Error):
    code = _c.CANCELLED


class Busy(Error):
    """Another call is working on the engine."""

    code = _c.BUSY


class NotFound(Error, LookupError):
    code = _c.NOT_FOUND


_ERRORS = {kind.code: kind for kind in (InvalidArgument, Unavailable, OutOfMemory, Cancelled, Busy, NotFound)}


def _load() -> ctypes.CDLL:
    own = pathlib.Path(__file__).parent / "lib" / "libdensetree.so.0"
    named = os.environ.get("DENSETREE_LIBRARY")
    try:
        library = ctypes.CDLL(named or (str(own) if own.exists() else "libdensetree.so.0"))
    except OSError as error:
        raise ImportError(f"libdensetree cannot be loaded: {error}; install it, or name it by DENSETREE_LIBRARY") from error
    version = library.densetree_version()
    if version // 1000000 != _c.VERSION // 1000000 or version < _c.VERSION:
        raise ImportError(f"{library._name} is of version {version}; this package is for {_c.VERSION}")
    for name, (result, arguments) in _c.FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


library = _load()


def call(name: str, *arguments: Any) -> None:
    """Calls densetree_<name>, which returns a status. Raises Error."""
    status = getattr(library, f"densetree_{name}")(*arguments)
    if status:
        code = library.densetree_status_code(status)
        message = library.densetree_status_message(status).decode(errors="replace")
        library.densetree_status_release(status)
        error = _ERRORS.get(code, Error)(message)
        error.code = code
        raise error


def made(name: str, *arguments: Any) -> int:
    """Calls a function whose last argument is where a handle is put."""
    handle = ctypes.c_void_p()
    call(name, *arguments, ctypes.byref(handle))
    return handle.value or 0


def defaults(name: str, struct: type) -> Any:
    """Parameters as densetree_<name>_init sets them."""
    params = struct()
    call(f"{name}_init", ctypes.byref(params), ctypes.sizeof(params))
    return params


def filled(name: str, struct: type, *arguments: Any) -> Any:
    """What a function puts into a struct, its last argument."""
    value = struct(size=ctypes.sizeof(struct))
    call(name, *arguments, ctypes.byref(value))
    return value


def text(value: os.PathLike | None) -> bytes | None:
    return None if value is None else os.fsencode(value)
