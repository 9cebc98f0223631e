"""Systems that are not the controller's own, behind the Protocols of the services."""
