"""ConsistentID: portraits from one photo, face part by face part (arXiv 2404.16771)."""
