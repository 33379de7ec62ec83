"""The gates of the torch module, on the road that gates of other packages take."""
