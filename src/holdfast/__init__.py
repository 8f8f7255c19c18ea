"""Holdfast: a storage grid for people who must not have to trust the machines that keep their data."""

__version__ = "0.1.0"
