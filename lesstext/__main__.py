"""`python -m lesstext`."""

from lesstext.cli.app import main

main()
