"""Traincast: predicts training time, cost and memory from measurements."""
