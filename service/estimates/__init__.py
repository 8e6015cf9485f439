"""Estimates: what a configuration will take."""
