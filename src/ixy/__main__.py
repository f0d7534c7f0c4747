"""`python -m ixy`: the command."""

from ixy.cli.start import main

main()
