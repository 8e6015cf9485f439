"""Sites: what a team's own measurements change in its predictions, between one calibration and the next."""
