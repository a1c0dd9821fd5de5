"""Commands of those who maintain the project."""
