"""Measurements and the sources they come from."""
