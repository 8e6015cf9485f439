"""Teams: who may do what, by which key, and what was done."""
