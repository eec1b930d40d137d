"""``python -m face3d``: the command line."""

from face3d.cli import main

main()
