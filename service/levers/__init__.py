"""Levers: what would shorten a run, by how much, and what it trades away."""
