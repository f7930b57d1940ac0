"""Failures that a user can act on.

Their message is one line: what was wrong, where, and what to do. The command line prints it and exits with
`exit_status`; the node logs it. Anything else that escapes is a bug and keeps its traceback.
"""


class DsformerError(Exception):
    """Something outside the program's control went wrong: a file, a device, a picture, the disk."""

    exit_status = 1


class UsageError(DsformerError):
    """The call itself was wrong: an unknown name, a value out of range, options that exclude each other."""

    exit_status = 2
