"""`python -m automedsam_lab.cli`, for torchrun."""

from automedsam_lab.cli.app import main

main()
