"""Benchmarks: each prints one JSON object with ``--json``; ``python -m benchmarks`` runs them all."""
