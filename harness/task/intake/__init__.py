"""The one door for data of the user's own: read as they are, checked, and what was found out about them told."""
