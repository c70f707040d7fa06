"""The command line: every command is a thin skin over one function of the library."""
