"""Calibrations: fitted on measurements, kept by version, one of them current."""
