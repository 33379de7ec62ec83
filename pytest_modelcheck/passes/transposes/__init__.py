"""Transposes moved through regions of a graph until they cancel."""
