"""A small attention module with a cache, judged by others: torch's functional attention, and a golden file of numpy."""
