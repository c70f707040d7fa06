"""Heads: what is read off the states. One file each; every head returns a distribution."""
