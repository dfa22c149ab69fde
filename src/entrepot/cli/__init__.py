"""The command line. A hit of the node cache is answered here, before anything slow is imported."""

import os
import sys


def main() -> None:
    """The program `entrepot`: does what `sys.argv` says and ends the process. Source: specs of the command line."""
    argv = sys.argv[1:]
    if argv[:2] == ["cache", "get"] and not os.environ.get("ENTREPOT_JSON"):
        from entrepot.cache.quick import answer

        path = answer(argv)
        if path is not None:
            print(path)
            return
    from entrepot.cli.program import run

    sys.exit(run(argv))
