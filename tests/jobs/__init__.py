"""Jobs: long computations into a store."""
