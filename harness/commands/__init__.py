"""What the command can be asked, one file a command."""

from harness.commands.guest import study_command

__all__ = ["study_command"]
