"""Where the controllers of an installation listen, as agents are told each time they connect."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses as the operator gave them; empty where agents keep what they have.

    Attributes:
        agents: ``host:port`` of the ports of agents, with commas between.
        people: ``host:port`` of the ports of people, where agents enrol and renew.
    """

    agents: str = ""
    people: tuple[str, ...] = ()


NO_PLACES = Places()
