"""`python -m lesstext`."""

from lesstext.cli import main

main()
