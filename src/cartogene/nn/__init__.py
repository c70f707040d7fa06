"""Parts of a model: tensors in, tensors out. Nothing here knows what a gene is."""
