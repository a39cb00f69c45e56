"""crag for the data owner."""

__version__ = "0.1.0"
