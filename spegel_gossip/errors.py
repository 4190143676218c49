"""The root of every error this project raises, and the two that belong to no part.

Errors are told apart by what the reader should do next. `except
SpegelGossipError` means "one of ours"; anything else that escapes is a bug.
"""


class SpegelGossipError(Exception):
    """Any failure that this project foresaw."""


class ConfigError(SpegelGossipError):
    """The operator gave a wrong flag, file or environment.

    The message is one sentence that names the setting and the remedy. The
    program exits with 2 before it starts anything.
    """


class DecodeError(SpegelGossipError):
    """Bytes from the network are not what they should be.

    The shell counts it, drops the message and goes on.
    """
