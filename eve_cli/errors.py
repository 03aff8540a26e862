"""Mistakes and mishaps that a user can understand: one sentence each, with the exit code of the command line."""

MEMORY_SIGNS = ("out of memory", "allocate memory", "alloc_failed", "could not create a memory")
"""How torch, cuDNN, cuBLAS and oneDNN say it in a plain RuntimeError."""


class EveError(Exception):
    """An error whose text is the whole message: what was wanted, what was found, what to do next."""

    exit_code = 1


class NoEstimate(EveError):
    """The cost of an edit cannot be estimated."""


class UsageError(EveError):
    """A flag, a setting or a name is wrong."""

    exit_code = 2


class OutputError(EveError):
    """The result cannot be written: folder missing, unknown type, disk full."""

    exit_code = 2


class InputError(EveError):
    """The input cannot be read or has no video."""

    exit_code = 3


class ModelError(EveError):
    """Weights are missing, have the wrong hash, or would have to be downloaded while offline."""

    exit_code = 4


class OutOfMemory(EveError):
    """Nothing fits any more, after every allowed way to use less."""

    exit_code = 5


class SomeFailed(EveError):
    """A batch is through, and some of its rows failed."""

    exit_code = 6


class CheckFailed(EveError):
    """A check that the user asked for did not pass."""

    exit_code = 7


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that memory ran out; imports none of them."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    # oneDNN's words where it has no room for a kernel; where it has no such kernel, it goes on with "descriptor"
    signs = text.strip() == "could not create a primitive" or any(sign in text for sign in MEMORY_SIGNS)
    return isinstance(error, RuntimeError) and signs
