"""Tests of s2koop.baselines."""
