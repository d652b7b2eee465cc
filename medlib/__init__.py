"""Helpers of the course "Deep learning for medical images"."""

__version__ = "0.1.0"
