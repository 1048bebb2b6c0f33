"""The ray marcher: distance fields, tracing, materials and light, compiled with numba."""
