"""Mutable files on the grid: created, read, changed, checked and repaired."""
