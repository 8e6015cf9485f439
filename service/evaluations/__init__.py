"""Evaluations: how well the current calibration predicts given measurements."""
