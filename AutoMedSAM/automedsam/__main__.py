"""`python -m automedsam`, for where the command is not on the path."""

from automedsam.cli.app import main

main()
