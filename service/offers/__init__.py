"""Offers: where a run would be cheapest, or emit least, by the prices and grids that are known."""
