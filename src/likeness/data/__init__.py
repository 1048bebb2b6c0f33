"""Data sets of people: what a folder of pictures becomes before anything is trained on it."""
