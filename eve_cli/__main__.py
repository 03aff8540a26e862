"""`python -m eve_cli` is the same as `eve`."""

from eve_cli.cli.app import main

if __name__ == "__main__":
    main()
