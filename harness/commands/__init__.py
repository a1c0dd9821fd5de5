"""The commands of the program, one file each."""

from harness.commands.guest import study_command

__all__ = ["study_command"]
