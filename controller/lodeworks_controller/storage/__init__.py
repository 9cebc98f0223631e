"""Where the controller keeps things."""
