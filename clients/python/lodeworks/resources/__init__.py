"""The asyncio client, one file per noun; `lodeworks.blocking` is generated from it."""
