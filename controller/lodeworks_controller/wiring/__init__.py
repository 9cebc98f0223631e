"""The controller put together by hand: the one place to read what is made of what."""
