"""How many threads linear algebra takes: read by NumPy's libraries when they are loaded, so set before that."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of one thread: sums in one order give the same bits, and other processors are for other requests. Threads
that wait for each other on a busy machine do so at full speed: what takes two seconds took fifty."""
