"""Encoders: who the gene is, and how much of it. One file each."""
