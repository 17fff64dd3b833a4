"""The servers that are code of this benchmark; those of other environments import nothing of the project."""
