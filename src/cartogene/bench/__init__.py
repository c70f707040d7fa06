"""Judging: how right a result is, in numbers that others can be compared with."""
