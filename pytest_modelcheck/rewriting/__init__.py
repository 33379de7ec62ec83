"""The rewriter through which every edit of a graph goes, and rules as formulas."""
