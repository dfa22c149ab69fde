"""`entrepot cache get <digest>` answered from the command line's words alone, before anything slow is imported."""

from entrepot.cache.choose import choose_root
from entrepot.cache.hit import hit
from entrepot.cache.layout import is_digest_hex

_VALUED = ("--sha256", "--url")
_PLAIN = ("--offline",)


def answer(argv: list[str]) -> str | None:
    """The path `cache get` prints, if `argv` (without the program's name) asks for a digest that is here; else None.

    Only a digest, `--sha256 HEX`, `--url URL` and `--offline` are understood; all else is for the whole command line.
    """
    digest_hex = wanted(argv)
    return hit(choose_root(), digest_hex) if digest_hex else None


def wanted(argv: list[str]) -> str | None:
    """The one digest these words ask for, as 64 hex digits; None if they ask for anything else."""
    if argv[:2] != ["cache", "get"]:
        return None
    names: list[str] = []
    words = iter(argv[2:])
    for word in words:
        option, equals, value = word.partition("=")
        if option in _VALUED:
            value = value if equals else next(words, "")
            if not value:
                return None
            if option == "--sha256":
                names.append(value)
        elif word.startswith("-"):
            if word not in _PLAIN:
                return None
        else:
            names.append(word)
    if len(names) != 1:
        return None
    digest_hex = names[0].removeprefix("sha256:").lower()
    return digest_hex if is_digest_hex(digest_hex) else None
