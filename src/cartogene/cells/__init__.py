"""Cells in, batches out."""
