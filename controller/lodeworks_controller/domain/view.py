"""Views: versions as tasks get them, frozen at one revision of the class map."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """A Parquet object of pictures and boxes with class names; the same version and classes give the same digest."""

    digest: str
    size_bytes: int
    pictures: int
    class_names: tuple[str, ...]
    class_map_revision: int
