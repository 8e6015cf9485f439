"""Plans: on what, and laid out how, a run is done in time and within budget."""
