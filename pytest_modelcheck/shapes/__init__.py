"""Symbolic sizes and contents of values, broadcasting, slices, evaluation of constants."""
