"""What can be wrong. The compiled part raises these; each is also the built-in exception that programs expect."""


class Error(Exception):
    """What every error of this package is.

    ``kind`` says what a program does about it, in a word: ``"invalid_input"``, ``"not_found"``, ``"io"``, ``"invalid_file"``,
    ``"unsupported"``, ``"limit"``, ``"memory"`` or ``"closed"``. The message is one line: what, where, what was expected,
    what was found. A checkpoint that does not fit has a line more for each tensor.
    """

    kind = "invalid_input"

    # An OSError with errno and filename would make a sentence of its own of them.
    __str__ = Exception.__str__


class InvalidInputError(Error, ValueError):
    """An argument has a value that it cannot have."""

    kind = "invalid_input"


class InvalidTypeError(InvalidInputError, TypeError):
    """An argument is of a type that it cannot be of, or an array of another type of numbers."""


class ClosedError(Error, ValueError):
    """A model, session, classifier or detector was used after it was closed."""

    kind = "closed"


class NotFoundError(Error, FileNotFoundError):
    """There is no such file. ``errno``, ``strerror`` and ``filename`` are as the system has them, where it said so."""

    kind = "not_found"


class IoError(Error, OSError):
    """The system could not open, read or write a file, or start a thread. ``errno`` and the like as in NotFoundError."""

    kind = "io"


class InvalidFileError(Error, ValueError):
    """A file is damaged, of another kind, or contradicts what it is used for."""

    kind = "invalid_file"


class UnsupportedError(Error, NotImplementedError):
    """All is well formed, but this version or this CPU does not do it."""

    kind = "unsupported"


class LimitError(Error, ValueError):
    """Something is larger than the limits allow."""

    kind = "limit"


class OutOfMemoryError(Error, MemoryError):
    """The machine did not give enough memory."""

    kind = "memory"
