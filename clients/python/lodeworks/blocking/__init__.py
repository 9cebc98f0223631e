"""The blocking client, one file per noun; generated from `lodeworks.resources`."""
