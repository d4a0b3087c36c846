"""Tests of the cube."""
