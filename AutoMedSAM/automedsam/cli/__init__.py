"""The command line: options in, files, tables and progress out."""
