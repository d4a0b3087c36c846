"""Tests of s2koop.scores."""
