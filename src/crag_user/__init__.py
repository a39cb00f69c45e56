"""crag for the end user."""

__version__ = "0.1.0"
