"""Fuzzing of what comes from outside: items, catalogues, arguments, model files, checkpoints, metadata.

An input is a string of bytes that decides which good document is taken and how it is spoiled, so that one harness
serves fixed seeds (``python -m tests.trust.fuzz --inputs 100000``), coverage guidance (``--guided``, with atheris) and
the replay of a failure. A target may return, or raise what `s2koop.errors` names; anything else is a defect.
"""
