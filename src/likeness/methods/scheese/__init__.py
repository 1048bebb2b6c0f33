"""SCheese: portraits of one collection from one portrait and instructions, every detail kept."""
