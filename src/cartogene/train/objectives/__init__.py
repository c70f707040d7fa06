"""Objectives: named losses, a file each; an objective owns its corruption."""
