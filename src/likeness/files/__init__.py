"""Bytes in, bytes out: pictures, weights, provenance. Nothing else here opens a path or the network."""
