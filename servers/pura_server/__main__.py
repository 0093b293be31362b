"""`python -m pura_server`."""

from pura_server.cli import main

main()
