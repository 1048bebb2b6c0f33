"""The published systems, a folder each; only `likeness.catalog` imports them."""
