"""The version of s2koop, stated once."""

__version__ = "0.1.0"
