"""Reference data: accelerators, models, data sets, links, prices, grids."""
