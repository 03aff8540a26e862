"""Errors that a user can act on: a one-line message each, and the exit code of the command line."""

import errno
import os

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

MEMORY_SIGNS = ("out of memory", "allocate memory", "alloc_failed", "could not create a memory")
"""What torch, cuDNN, cuBLAS and oneDNN write into a plain RuntimeError when memory runs out."""


class EveError(Exception):
    """An error whose text is the whole message: what failed, why, and what to do."""

    exit_code = 1


class EstimateError(EveError):
    """The cost of an operation cannot be estimated."""


class UsageError(EveError):
    """An option, a setting or a name is invalid."""

    exit_code = 2


class OutputError(EveError):
    """The result cannot be written: the folder is missing, the type unknown, or the disk full."""

    exit_code = 2


class InputError(EveError):
    """The input cannot be read or has no video."""

    exit_code = 3


class ModelError(EveError):
    """Weights are missing, do not match their hash, or would have to be downloaded while offline."""

    exit_code = 4


class OutOfMemory(EveError):
    """The edit does not fit into memory, with every allowed fallback."""

    exit_code = 5


class SomeFailed(EveError):
    """A batch has finished, and some of its rows failed."""

    exit_code = 6


class CheckFailed(EveError):
    """A requested check failed."""

    exit_code = 7


def describe(error: BaseException) -> tuple[str, int]:
    """The one-line message and the exit code of any error."""
    if isinstance(error, EveError):
        return str(error), error.exit_code
    if is_out_of_memory(error):
        return "Out of memory: use a shorter --window or a smaller model.", OutOfMemory.exit_code
    if isinstance(error, OSError) and error.strerror and (error.filename is not None or error.errno in FULL):
        name = "stdout" if error.filename is None else os.fsdecode(str(error.filename))
        return f"{name}: {error.strerror.lower()}.", OutputError.exit_code
    return f"Unexpected {type(error).__name__}: {error}; --debug shows the traceback.", 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library means that memory ran out; imports none of them."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    # oneDNN's message when it lacks memory for a kernel; when it has no such kernel, "descriptor" follows
    signs = text.strip() == "could not create a primitive" or any(sign in text for sign in MEMORY_SIGNS)
    return isinstance(error, RuntimeError) and signs
