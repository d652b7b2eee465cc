"""Metrics with intervals: classification and statistics."""
