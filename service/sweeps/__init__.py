"""Sweeps: one configuration with one or two fields varied, as points and as curves."""
