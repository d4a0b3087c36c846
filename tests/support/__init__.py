"""Helpers that several test packages share: item builders, the loopback provider."""
