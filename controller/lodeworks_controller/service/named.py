"""What a person wrote to mean a thing: its name with version and stage, or its id."""

from lodeworks_controller.domain.ids import is_id
from lodeworks_controller.domain.reference import Reference, parse_reference


def reference_or_id(text: str, *, field: str) -> Reference:
    """Returns the parts of ``name[@N][:stage]`` or ``id[:stage]``; an id stands where the name does."""
    head, _, stage = text.strip().partition(":")
    if is_id(head):
        return Reference(head, stage=stage or None)
    return parse_reference(text, field=field)
