"""What can go wrong, in words that a user can act on."""


class IxyError(Exception):
    """A wrong input or a misbehaving device: one line that says what is wrong and what mends it.

    The command prints it to stderr without a traceback (with one if IXY_DEBUG=1).
    """
