"""Whole characters. JSON may write one as two halves (surrogates), and a half alone fits into no file or request."""


def whole(text: str) -> str:
    """Two halves side by side become their character, a half alone U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
