"""Which version of the program this is."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Returns the version of the installed program."""
    try:
        return version("lodeworks-platform")
    except PackageNotFoundError:
        return "0"
