"""Functions over diffusers' own classes, shared by all methods."""
