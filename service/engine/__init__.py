"""The engine: NumPy in, NumPy out; it knows neither web nor database nor who calls it."""
