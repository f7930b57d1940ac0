"""Placeholder until the command is there."""

from argparse import ArgumentParser, _SubParsersAction


def register(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds nothing yet."""
