"""`python -m tuner`: the command line where its console command is not on the path."""

import sys


def run() -> None:
    """Run it, or say what this interpreter lacks: on a cluster it need not be the one that was thought of."""
    try:
        from tuner.cli.main import main
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "tuner":
            raise
        lacks = f"error: {sys.executable} (Python {sys.version.split()[0]}) has no module {error.name!r}"
        print(f"{lacks}, which tuner needs: install tuner for it, or use the one that has it.", file=sys.stderr)
        sys.exit(2)
    main()


if __name__ == "__main__":
    run()
