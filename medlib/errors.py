"""Errors a user can act on: what it is about, what was expected, what was found, what to do."""

from collections.abc import Iterable


class MedlibError(Exception):
    """One clear message about one thing, shown by the command line without a traceback.

    Parameters
    ----------
    subject : str
        The file, argument or setting the error is about.
    expected, found : str, optional
        What should have been there, and what was.
    advice : str, optional
        What to do about it, as a sentence.
    """

    exit_code = 1

    def __init__(self, subject: str, *, expected: str = "", found: str = "", advice: str = ""):
        self.subject, self.expected, self.found, self.advice = subject, expected, found, advice
        facts = [f"expected {expected}" if expected else "", f"found {found}" if found else ""]
        message = str(subject)
        if any(facts):
            message += ": " + ", ".join(fact for fact in facts if fact)
        if advice:
            message += f". {advice}"
        super().__init__(message)


class UsageError(MedlibError):
    """An argument, a name or a combination of them that cannot be used (exit code 2)."""

    exit_code = 2


def expect_one_of(argument: str, name: str, known: Iterable[str]) -> None:
    """Raise UsageError for a name that is not known."""
    if name not in known:
        raise UsageError(argument, expected=f"one of {', '.join(known)}", found=repr(name))


class DataError(MedlibError):
    """Images, labels, masks or tables that are not what they should be."""


class DownloadError(MedlibError):
    """A public data set that could not be fetched, or is not what was published."""


class RunError(MedlibError):
    """A run folder or a saved model that cannot be written, read or continued."""


class LedgerError(MedlibError):
    """A measured number outside its band."""
