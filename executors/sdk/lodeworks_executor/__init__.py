"""The typed /in and /out of an executor, for authors of images."""
