"""The controller: owns projects, catalogue and tasks."""
