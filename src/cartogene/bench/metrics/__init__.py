"""What is measured, one kind of result per file."""
