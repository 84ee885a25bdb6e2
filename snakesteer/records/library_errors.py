"""What libraries raise, in words: the one place that makes a `UserError` of it.

Every stage of a run wraps its calls of libraries in `told`. What leaves the block is looked up
among the causes of the stage, then among those that can strike anywhere
(`snakesteer.records.library_causes`). What neither knows gets the stage's own remedy, but only if a
library raised it (`raised_by`): an exception of our own code stays as it is, with its traceback. A
bug must not look like bad input.

Generating and writing have no stage of their own, because they fail for reasons that can strike
anywhere: no memory, a full disk, a locked file, a broken GPU. Scripts and commands ask `anywhere`
about all that leaves them.
"""

import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from snakesteer.errors import UserError
from snakesteer.records.library_causes import ANYWHERE, DATABASE_FAILS, Cause, Stage

# Modules whose exceptions are our own; a rule's script is `__main__`.
_OURS = {"snakesteer", "__main__"}
_LONGEST = 400  # characters of a library's own words


@contextmanager
def told(stage: Stage, subject: str, broken: str) -> Iterator[None]:
    """Turn what libraries raise in the block into a `UserError`; anything else goes on.

    Args:
        stage: What is done in it.
        subject: What it is done with: a path, "The model 'x'".
        broken: What is said of the subject where no cause is known: "is not a readable study".
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause = _first((*stage.causes, *ANYWHERE), error)
        private = stage.private or (cause is not None and cause.private)
        words = type(error).__name__ if private else what_it_says(error)
        if cause is not None:
            what = cause.what[0].lower() + cause.what[1:]
            raise UserError(f"{subject} {stage.fails}: {what} ({words})", cause.remedy) from error
        if isinstance(error, (OSError, *stage.content)) or raised_by(error) is not None:
            raise UserError(f"{subject} {broken} ({words})", stage.remedy) from error
        raise


def anywhere(error: BaseException) -> UserError | None:
    """What can strike at any line, explained; None for anything else."""
    cause = _first((*ANYWHERE, DATABASE_FAILS), error)
    return UserError(f"{cause.what} ({what_it_says(error)})", cause.remedy) if cause else None


def raised_by(error: BaseException) -> str | None:
    """The library that raised an exception; None if it was our own code.

    It is the one that defines the exception's class; for Python's own classes, the one with the
    innermost frame outside of the standard library. Compiled code has no frames: a RuntimeError of
    PyTorch's for a wrong shape in a line of ours is ours.
    """
    home = type(error).__module__.partition(".")[0]
    if home not in sys.stdlib_module_names and home not in _OURS:
        return home
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name in _OURS:
            return None
        if name not in sys.stdlib_module_names:
            return name
    return None


def what_it_says(error: BaseException) -> str:
    """Who raised an exception, its class, and its message, cut where that is long."""
    text = textwrap.shorten(str(error), width=_LONGEST, placeholder=" …")
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    library = raised_by(error)
    return f"in {library}: {said}" if library else said


def _first(causes: Iterable[Cause], error: BaseException) -> Cause | None:
    """The first cause that explains an exception, or one that it was raised from."""
    chain = [error]
    while (before := chain[-1].__cause__) is not None:
        chain.append(before)
    return next((cause for cause in causes if any(_shows(cause, one) for one in chain)), None)


def _shows(cause: Cause, error: BaseException) -> bool:
    if any(base.__name__ in cause.classes for base in type(error).__mro__):
        return True
    if isinstance(error, OSError) and error.errno in cause.numbers:
        return True
    # Python's own KeyError or ValueError, of a line of ours, may hold any words.
    own = type(error).__module__ == "builtins" and not isinstance(error, OSError | RuntimeError)
    return (not own or raised_by(error) is not None) and any(
        word in str(error).lower() for word in cause.words
    )
