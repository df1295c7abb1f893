"""Stowage: an OCI Distribution registry server."""

from importlib.metadata import version

__version__ = version("stowage")
