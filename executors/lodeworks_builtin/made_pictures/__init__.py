"""Made pictures: scenes that a network must really learn, drawn from a seed."""
