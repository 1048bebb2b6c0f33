"""CHEESE: collections of portraits become (reference, instruction, target) triplets (SCheese, section 3)."""
