"""From attention to a gene network: score -> pool -> prune."""
