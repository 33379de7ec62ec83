"""The library from the shell."""
