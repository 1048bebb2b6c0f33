"""Measuring likeness: what is painted, put beside what was asked for and who it should be.

`case` is a row to measure, `metrics` hold one small class a number, `embedders` the models they look
through, `result` what is written down.
"""
